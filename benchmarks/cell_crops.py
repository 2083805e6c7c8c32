"""What a net makes of single cells, by how a cell is cut out.

    python benchmarks/cell_crops.py --export=EXPORT [--fields=240] [--seed=99] [--size=64]

EXPORT is of a net that learned from the synthetic dataset: from its fields, or from their cells
(configs/cells.py). Fields that it has not seen are drawn, and their cells cut out by exact masks:
in each of the ways of `predict --cells`, or as the net learned from them. Printed are macro average
precisions: of cells, each with its field's labels (of whole ones, which do not touch the border,
too); and of fields by the mean and the maximum over their cells, and by attention where the net has
learnt it. The peer is the score of the whole field by a net that takes fields.
"""

from collections.abc import Sequence

import checkout  # noqa: F401
import numpy as np
from command_line import make_parser, run
from results import make_row, write_rows

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.labels import LABELS
from hpa_jax.metrics.ranking import average_precision
from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.crops import BOX, FIELD, REPEAT, CropRule, crop, parse_window
from hpa_jax.segmentation.instances import Instances
from hpa_jax.segmentation.numbering import pair
from hpa_jax.serving import Served, artifact
from hpa_jax.serving.predict.cells.pooling import pool
from hpa_jax.serving.predict.cells.request import ATTENTION
from hpa_jax.serving.served import PROBABILITIES
from tfds_builder.hpa.synthetic.render import cells_of, draw_labels, render

BATCH = 32


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--export", type=path_flag("--export"), required=True)
    parser.add_argument("--fields", type=int, default=240)
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--size", type=int, default=64, help="of the fields, of a net of cells")
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


def compare(args) -> None:
    """Scores the cells in each way, prints a line each and writes the rows."""
    served = artifact.load(args.export, kinds=None)
    side = served.description["input"]["shape"][1]
    learned = served.description.get("cells")
    size = args.size if learned else side
    fields, masks, targets = drawn(args.fields, args.seed, size)
    peer = {}
    print(f"{args.fields} fields of {size} px")
    if not learned:
        value = macro(score(served, fields, [PROBABILITIES])[PROBABILITIES], targets)
        peer = {"peer": "fields", "peer_value": value}
        print(f"the net on whole fields: {value:.3f}")
    pools = ["mean", "max"]
    if ATTENTION in served.outputs:
        pools.append(ATTENTION)
    titles = ["cells", "whole cells", *(f"fields, {how}" for how in pools)]
    print(f"{'window':<10} {'neighbours':<10} {'   '.join(f'{title:>17}' for title in titles)}")
    rows = []
    for rule in rules(side, learned):
        found = of_cells(served, fields, masks, targets, rule, pools)
        left = "left" if rule.keep_neighbours else "black"
        shown = "   ".join(f"{value:17.3f}" for value in found)
        print(f"{rule.window:<10} {left:<10} {shown}")
        name = f"macro_ap_of_cells_{rule.window}_{left}"
        by_title = dict(zip(titles, found, strict=True))
        rows.append(make_row(name, found[0], "AP", device="any", **peer, by_title=by_title))
    write_rows(args.json, rows)


def rules(side: int, learned: dict | None) -> list[CropRule]:
    """The ways of cutting out cells: as the net learned, or all of them."""
    if learned:
        window = parse_window(learned["window"], "window")
        return [CropRule(side, window, learned["keep_neighbours"])]
    found = [CropRule(side, REPEAT)]
    for window in (FIELD, BOX):
        found += [CropRule(side, window), CropRule(side, window, keep_neighbours=True)]
    return found


def drawn(count: int, seed: int, size: int) -> tuple[list[np.ndarray], list[Instances], np.ndarray]:
    """Fields uint8 [S, S, 4], their exact masks, and their labels bool [N, L]."""
    fields, masks = [], []
    targets = np.zeros((count, len(LABELS)), bool)
    for index, labels in enumerate(draw_labels(seed, count, "tempered")):
        targets[index, list(labels)] = True
        fields.append(render(seed, index, labels, size))
        masks.append(pair(cells_of(seed, index, size).owner + 1))
    return fields, masks, targets


def score(served: Served, images: list[np.ndarray], outputs: Sequence[str]) -> dict:
    """Outputs of all images by name, float32 [N, L]."""
    batches: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
    for start in range(0, len(images), BATCH):
        for name, found in served.run(np.stack(images[start : start + BATCH]), outputs).items():
            batches[name].append(found)
    return {name: np.concatenate(parts) for name, parts in batches.items()}


def of_cells(
    served: Served,
    fields: list[np.ndarray],
    masks: list[Instances],
    targets: np.ndarray,
    rule: CropRule,
    pools: Sequence[str],
) -> list[float]:
    """Macro average precision of cells, of whole cells, and of fields by each way of pooling."""
    crops, owners, is_whole = [], [], []
    for index, (field, instances) in enumerate(zip(fields, masks, strict=True)):
        for cell in measure_cells(instances):
            crops.append(crop(field, instances.cells, cell, rule))
            owners.append(index)
            is_whole.append(not cell.touches_border)
    wanted = [PROBABILITIES, ATTENTION] if ATTENTION in pools else [PROBABILITIES]
    outputs = score(served, crops, wanted)
    scores, owner, whole = outputs[PROBABILITIES], np.array(owners), np.array(is_whole)
    values = [macro(scores, targets[owner]), macro(scores[whole], targets[owner[whole]])]
    for how in pools:
        pooled = []
        for index in range(len(fields)):
            of_field = {name: output[owner == index] for name, output in outputs.items()}
            pooled.append(pool(of_field[PROBABILITIES], how, of_field.get(ATTENTION)))
        values.append(macro(np.stack(pooled), targets))
    return values


def macro(scores: np.ndarray, targets: np.ndarray) -> float:
    """Mean over the labels of the average precision."""
    found = [average_precision(scores[:, k], targets[:, k]) for k in range(targets.shape[1])]
    return float(np.mean(found))


if __name__ == "__main__":
    run_program(main)
