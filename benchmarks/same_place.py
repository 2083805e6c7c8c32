"""Is the same place found again? Other pictures of real fields, among 1,000 drawn distractors.

    python benchmarks/same_place.py [--sample_dir=DIR] [--run=RUN] [--export=EXPORT] [--json=FILE]

Each of the 77 real fields is looked for by crops of 60 % of its side, turned or mirrored, blurred
(1.5 px of 512) and at 0.7 of its intensity; like every image, a crop is resized to what the net
takes. It is compared with the 77 fields and with synthetic ones, by the cosine of embeddings:
recall at 1 is the fraction of the crops whose nearest image is their own field. Beside the
embeddings of runs and exports (--run, --export, several times) stand an untrained net and
histograms of the four channels. Intervals: the fields are drawn with replacement, each with its
crops.

DIR holds kaggle_512/train (default HPA_SAMPLE_DIR).
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import checkout  # noqa: F401
import numpy as np
from command_line import make_parser, run
from results import cpu_name, make_row, with_cores, write_rows
from same_place_images import batches, draw_distractors, other_picture, read_fields
from tqdm import tqdm

from hpa_jax import serving
from hpa_jax.config import Config, Data, Model
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.metrics.bootstrap import percentile_interval
from hpa_jax.metrics.retrieval import DECIMALS, normalize, rank
from hpa_jax.metrics.retrieval_intervals import difference, resampled_means
from hpa_jax.probe.embedders import Embed, of_run, open_run, untrained
from hpa_jax.probe.histogram import intensity_histograms
from hpa_jax.training import parts
from hpa_jax.workdir import read_config

BATCH = 16
_SEED = 0
_COLUMNS = ("embedding", "px", "recall at 1", "at 5", "at 10", "recall at 1 above histograms")


class Contender(NamedTuple):
    """What embeds images.

    Attributes:
      title: of its row.
      size: px a side of the images that it takes.
      embed: uint8 `[16, size, size, 4]` to float32 `[16, E]`.
    """

    title: str
    size: int
    embed: Embed


def contenders(args: argparse.Namespace, fields: Sequence[np.ndarray]) -> Iterator[Contender]:
    """Histograms first, then an untrained net, then runs and exports."""
    yield Contender("histograms", args.size, intensity_histograms)
    pixels = np.stack(fields).astype(np.float32) / 255
    data = Data(
        image_size=args.size,
        batch_size=BATCH,
        mean=tuple(pixels.mean(axis=(0, 1, 2)).tolist()),
        std=tuple(pixels.std(axis=(0, 1, 2)).tolist()),
    )
    config = Config(data=data, model=Model(name=args.net, head="linear"))
    mesh = parts.make_mesh(data, config.model)
    yield Contender(f"{args.net}, untrained", args.size, untrained(config, mesh, _SEED).embed)
    for folder in args.run:
        trained = read_config(folder)
        trained.data.batch_size = BATCH
        embedder, *_ = of_run(open_run(trained, folder), _SEED)
        yield Contender(f"run {folder.name}", trained.data.image_size, embedder.embed)
    for folder in args.export:
        served = serving.load(folder)

        def embed(images: np.ndarray, served=served) -> np.ndarray:
            return served.run(images, ("embedding",))["embedding"]

        size = served.description["input"]["shape"][1]
        yield Contender(f"export {folder.name}", size, embed)


def embed_all(contender: Contender, images: Sequence[np.ndarray], what: str) -> np.ndarray:
    """Embeddings of images of any size, float32 `[N, E]`."""
    found = []
    title = f"{contender.title}: {what}"
    with tqdm(total=len(images), unit="image", desc=title, disable=None) as bar:
        for batch, count in batches(images, contender.size, BATCH):
            found.append(contender.embed(batch)[:count])
            bar.update(count)
    return np.concatenate(found)


def recalls(crops: np.ndarray, searched: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Recall at 1, 5 and 10 of each crop.

    Args:
      crops: float `[Q, E]`, embeddings.
      searched: float `[N, E]`.
      own: int `[Q]`, which of them is each crop's field.

    Returns:
      float64 `[Q, 3]`; of equal cosines each counts for its part (`hpa_jax.metrics.retrieval`).
    """
    cosines = np.round(normalize(crops) @ normalize(searched).T, DECIMALS)
    allowed = np.ones(cosines.shape, bool)
    relevant = np.arange(len(searched)) == own[:, None]
    _, recall, _ = rank(cosines, allowed, relevant)
    return recall


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--sample_dir",
        type=path_flag("--sample_dir"),
        default=Path(os.environ.get("HPA_SAMPLE_DIR", ".")),
        help="folder of kaggle_512/ (default HPA_SAMPLE_DIR)",
    )
    for name in ("run", "export"):
        parser.add_argument(
            f"--{name}", type=path_flag(f"--{name}"), action="append", default=[], metavar="FOLDER"
        )
    parser.add_argument("--crops", type=int, default=4, help="of a field (default %(default)s)")
    parser.add_argument("--distractors", type=int, default=1000, help="(default %(default)s)")
    parser.add_argument("--fields", type=int, help="only the first so many (default: all)")
    parser.add_argument("--net", default="densenet121", help="untrained (default %(default)s)")
    parser.add_argument(
        "--size", type=int, default=128, help="px that it and histograms see (default %(default)s)"
    )
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


def compare(args: argparse.Namespace) -> None:
    """Looks for every crop by every embedding, prints the table and writes the rows."""
    fields = read_fields(args.sample_dir)[: args.fields]
    rng = np.random.default_rng(_SEED)
    own = np.repeat(np.arange(len(fields)), args.crops)
    crops = [other_picture(fields[field], rng) for field in own]
    searched = [*fields, *draw_distractors(args.distractors, args.size)]
    print(
        f"{len(crops)} crops of {len(fields)} real fields, among these and "
        f"{args.distractors} drawn ones",
        flush=True,
    )
    rows = []
    of_histograms = None
    for contender in contenders(args, fields):
        found = recalls(
            embed_all(contender, crops, "crops"), embed_all(contender, searched, "fields"), own
        )
        if of_histograms is None:
            of_histograms = found
        rows.append(_row(contender, found, of_histograms, own))
    print(f"\n{markdown(rows)}")
    write_rows(args.json, rows)


def _row(
    contender: Contender, found: np.ndarray, of_histograms: np.ndarray, own: np.ndarray
) -> dict:
    first = found[:, 0]
    low, high = percentile_interval(resampled_means(first, own))
    above, ends = difference(first, of_histograms[:, 0], own)
    return make_row(
        f"same_place_{contender.title}",
        float(first.mean()),
        "recall at 1",
        peer="histograms",
        peer_value=float(of_histograms[:, 0].mean()),
        device=with_cores(cpu_name()),
        title=contender.title,
        size=contender.size,
        crops=len(own),
        interval=[float(low), float(high)],
        recall_at_5=float(found[:, 1].mean()),
        recall_at_10=float(found[:, 2].mean()),
        above_histograms=float(above),
        above_histograms_interval=ends.tolist(),
    )


def markdown(rows: Sequence[dict]) -> str:
    """The rows as a table."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "| --- " * len(_COLUMNS) + "|"]
    for row in rows:
        low, high = row["interval"]
        above = ""
        if row["title"] != "histograms":
            least, most = row["above_histograms_interval"]
            above = f"{row['above_histograms']:+.3f} [{least:+.3f}, {most:+.3f}]"
        cells = (
            row["title"],
            str(row["size"]),
            f"{row['value']:.3f} [{low:.3f}, {high:.3f}]",
            f"{row['recall_at_5']:.3f}",
            f"{row['recall_at_10']:.3f}",
            above,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program(main)
