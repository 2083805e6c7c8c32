"""How often each label is shown in an epoch, by each way of sampling: a table and a plot.

    python benchmarks/label_balance.py --csv=kaggle_train.csv [--svg=FILE] [--json=FILE]

The csv has the columns Id and Target; only labels are read. Counts are means over ten epochs of the
very order that training draws. The peer of every row is uniform sampling. `--settings` compares
other settings of each sampling; the plot is docs/images/label_balance.svg.
"""

from collections.abc import Sequence
from pathlib import Path

import checkout  # noqa: F401
import numpy as np
from command_line import make_parser, run
from label_balance_plot import TITLES, draw
from results import make_row, write_rows

from hpa_jax.data.sampler import SAMPLINGS, Order, sampling_factors
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.files import csv_table

EPOCHS = 10
BASELINE = "hpa_densenet"
SETTINGS_HEADER = (
    "\nsetting                        epoch  images repeated  most times  rarest label"
    "  commonest / rarest"
)


def read_targets(path: Path) -> np.ndarray:
    """The labels of a csv's rows, uint8 [N, 28].

    Raises:
      InputError: the file cannot be read, or a row of it.
    """
    try:
        table = csv_table.read(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}: give --csv a csv with the columns Id and Target"
        ) from None
    if table.faults:
        raise InputError(f"{len(table.faults)} rows are at fault, the first: {table.faults[0]}")
    targets = np.zeros((len(table.rows), len(LABELS)), np.uint8)
    for number, row in enumerate(table.rows):
        targets[number, list(row.labels)] = 1
    return targets


def effective_counts(targets: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """Images with each label that an epoch shows, the mean of ten epochs.

    Args:
      targets: 0/1 `[N, L]`.
      repeats: float `[N]`, how often an epoch shows each image on average.

    Returns:
      float64 `[L]`.
    """
    order = Order(repeats, seed=0)
    shown = np.zeros(len(repeats), np.int64)
    for number in range(EPOCHS):
        shown += np.bincount(order.epoch(number), minlength=len(repeats))
    return shown @ targets.astype(np.int64) / EPOCHS


def imbalance(counts: np.ndarray) -> float:
    """The commonest label's count over the rarest's, of labels that occur."""
    return float(counts.max() / counts[counts > 0].min())


def print_settings(targets: np.ndarray) -> None:
    """What settings around the defaults would give."""
    print(SETTINGS_HEADER)
    _print_setting(targets, "uniform", "")
    for below in (100, 350, 600, 1000):
        for copies in (2.0, 4.0, 8.0):
            title = f"below {below}, x{copies:g}"
            _print_setting(targets, BASELINE, title, rare_below=below, rare_copies=copies)
    for threshold in (0.001, 0.01, 0.02, 0.03, 0.05, 0.1):
        _print_setting(targets, "repeat_factor", f"t = {threshold:g}", repeat_threshold=threshold)


def _print_setting(
    targets: np.ndarray,
    sampling: str,
    title: str,
    *,
    rare_below: int = 0,
    rare_copies: float = 1.0,
    repeat_threshold: float = 0.0,
) -> None:
    repeats = sampling_factors(
        targets,
        sampling,
        rare_below=rare_below,
        rare_copies=rare_copies,
        repeat_threshold=repeat_threshold,
    )
    counts = effective_counts(targets, repeats)
    rarest = counts[counts > 0].min()
    repeated = (repeats > 1).sum()
    print(
        f"{sampling:13} {title:15} {repeats.mean():6.3f} {repeated:16,} {repeats.max():11.1f} "
        f"{rarest:13.0f} {imbalance(counts):19.0f}"
    )


def make_rows(counts: dict[str, np.ndarray], lengths: dict[str, float]) -> list[dict]:
    """Of each sampling the epoch's length, the imbalance, and every label's count."""
    rows = []
    uniform = counts["uniform"]
    for sampling, values in counts.items():
        entries = [
            ("epoch_length", "images", lengths[sampling], lengths["uniform"]),
            ("imbalance", "commonest / rarest label", imbalance(values), imbalance(uniform)),
        ]
        for label in range(len(LABELS)):
            entries.append((f"label_{label}", "images an epoch", values[label], uniform[label]))
        for what, unit, value, peer_value in entries:
            row = make_row(
                f"label_balance_{sampling}_{what}",
                float(value),
                unit,
                peer="uniform",
                peer_value=float(peer_value),
                device="any",
            )
            rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--csv", type=path_flag("--csv"), required=True, help="labels: columns Id and Target"
    )
    parser.add_argument(
        "--rare_below",
        type=int,
        default=350,
        help=f"{BASELINE}: images below which a label is rare",
    )
    parser.add_argument(
        "--rare_copies", type=float, default=4.0, help=f"{BASELINE}: times a rare image is shown"
    )
    parser.add_argument(
        "--repeat_threshold",
        type=float,
        default=0.03,
        help="repeat_factor: frequency from which on a label is not rare",
    )
    parser.add_argument(
        "--settings", action="store_true", help="print what other settings would give"
    )
    parser.add_argument("--svg", type=path_flag("--svg"), help="file for the plot")
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


def compare(args) -> None:
    """Prints the tables and writes plot and rows."""
    targets = read_targets(args.csv)
    settings = {
        "rare_below": args.rare_below,
        "rare_copies": args.rare_copies,
        "repeat_threshold": args.repeat_threshold,
    }
    counts = {}
    lengths = {}
    for sampling in SAMPLINGS:
        repeats = sampling_factors(targets, sampling, **settings)
        counts[sampling] = effective_counts(targets, repeats)
        lengths[sampling] = Order(repeats, 0).epoch_length

    shown_settings = ", ".join(f"{name}={value:g}" for name, value in settings.items())
    print(f"{args.csv.name}: {len(targets):,} images; {shown_settings}")
    titles = "".join(f"{TITLES[sampling]:>15}" for sampling in SAMPLINGS)
    print(f"{'images shown in an epoch':33}{titles}")
    for label in np.argsort(-counts["uniform"], kind="stable").tolist():
        cells = "".join(f"{counts[sampling][label]:15,.0f}" for sampling in SAMPLINGS)
        print(f"{label:3} {LABELS[label]:29}{cells}")
    cells = "".join(f"{lengths[sampling]:15,}" for sampling in SAMPLINGS)
    print(f"{'    length of an epoch':33}{cells}")
    cells = "".join(f"{imbalance(counts[sampling]):15,.0f}" for sampling in SAMPLINGS)
    print(f"{'    commonest label / rarest':33}{cells}")
    if args.settings:
        print_settings(targets)
    if args.svg:
        args.svg.write_text(draw(counts))
    write_rows(args.json, make_rows(counts, lengths))


if __name__ == "__main__":
    run_program(main)
