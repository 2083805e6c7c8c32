"""How often each label is seen in an epoch, by each way to sample: a table, a comparison of settings, and a plot.

    python benchmarks/label_balance.py --csv=kaggle_train.csv [--svg=docs/images/label_balance.svg] [--json=FILE]

CSV has the columns Id and Target; labels alone are read. Counts are means over ten epochs of the very order that
training draws. The peer of every figure is uniform sampling.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from hpa_jax.data.sampler import SAMPLINGS, Order, sampling_factors
from hpa_jax.errors import EXIT_BAD_INPUT, InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.files import csv_table

EPOCHS = 10
TITLES = {"uniform": "uniform", "hpa_densenet": "hpa_densenet", "repeat_factor": "repeat factor"}
COLOURS = {
    "uniform": "#8a8f98",
    "hpa_densenet": "#e69f00",
    "repeat_factor": "#0072b2",
}  # of Okabe and Ito


def read_targets(path: Path) -> np.ndarray:
    """The labels of a csv's rows, uint8 [N, 28].

    Raises InputError where the file cannot be read or any row is at fault.
    """
    try:
        found = csv_table.read(path.read_bytes(), str(path), "Id", "Target")
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}: give --csv a csv with the columns Id and Target"
        ) from None
    if found.faults:
        raise InputError(f"{len(found.faults)} rows are at fault, the first: {found.faults[0]}")
    targets = np.zeros((len(found.rows), len(LABELS)), np.uint8)
    for number, row in enumerate(found.rows):
        targets[number, list(row.labels)] = 1
    return targets


def effective_counts(targets: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Fields with each label that an epoch shows, float64 [L]: the mean of ten epochs with the factors `shown` [N]."""
    order = Order(shown, seed=0)
    times = sum(np.bincount(order.epoch(number), minlength=len(shown)) for number in range(EPOCHS))
    return times @ targets.astype(np.int64) / EPOCHS


def imbalance(counts: np.ndarray) -> float:
    """The commonest label's count over the rarest's, of labels that occur."""
    return float(counts.max() / counts[counts > 0].min())


def print_settings(targets: np.ndarray) -> None:
    """What settings around the defaults would give."""
    print(
        "\nsetting                        epoch  fields repeated  most times  rarest label  commonest / rarest"
    )
    settings = [("uniform", 0, 1.0, 0.0)]
    settings += [
        ("hpa_densenet", below, copies, 0.0)
        for below in (100, 350, 600, 1000)
        for copies in (2.0, 4.0, 8.0)
    ]
    settings += [
        ("repeat_factor", 0, 1.0, threshold) for threshold in (0.001, 0.01, 0.02, 0.03, 0.05, 0.1)
    ]
    for sampling, below, copies, threshold in settings:
        shown = sampling_factors(
            targets, sampling, rare_below=below, rare_copies=copies, repeat_threshold=threshold
        )
        counts = effective_counts(targets, shown)
        what = {
            "uniform": "",
            "hpa_densenet": f"below {below}, x{copies:g}",
            "repeat_factor": f"t = {threshold:g}",
        }[sampling]
        print(
            f"{sampling:13} {what:15} {shown.mean():6.3f} {(shown > 1).sum():16,} {shown.max():11.1f} "
            f"{counts[counts > 0].min():13.0f} {imbalance(counts):19.0f}"
        )


def svg(counts: dict[str, np.ndarray]) -> str:
    """Bars on a logarithmic scale from 1, three a label, commonest label first; a picture of its own."""
    order = np.argsort(-counts["uniform"], kind="stable")
    left, top, width, pitch, bar = 200, 58, 520, 27, 7
    height = top + pitch * len(LABELS) + 12
    most = max(10.0, *(1.1 * c.max() for c in counts.values()))

    def x(count: float) -> float:
        return left + width * math.log10(max(count, 1)) / math.log10(most)

    marks = [10**e for e in range(int(math.log10(most)) + 1)]
    grid = "".join(f'<path d="M{x(m):.1f} {top - 6}V{height - 10}"/>' for m in marks)
    ticks = "".join(
        f'<text x="{x(m):.1f}" y="{top - 12}" text-anchor="middle">{m:,}</text>' for m in marks
    )
    legend = "".join(
        f'<rect x="{left + 150 * i}" y="10" width="12" height="12" fill="{COLOURS[name]}"/>'
        f'<text x="{left + 150 * i + 18}" y="20">{escape(TITLES[name])}</text>'
        for i, name in enumerate(counts)
    )
    rows = ""
    for row, label in enumerate(order.tolist()):
        y = top + pitch * row
        rows += (
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(LABELS[label])}</text>\n'
        )
        for i, (name, values) in enumerate(counts.items()):
            rows += (
                f'<rect x="{left}" y="{y + bar * i}" width="{x(values[label]) - left:.1f}" height="{bar - 1}" '
                f'fill="{COLOURS[name]}"><title>{escape(LABELS[label])}, {TITLES[name]}: {values[label]:,.0f}'
                "</title></rect>\n"
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 30} {height}" role="img" '
        'aria-label="Fields shown in an epoch, by label, for three ways to sample" '
        'font-family="system-ui,sans-serif" font-size="12" fill="#1b2430">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n<g stroke="#d9dfe5">{grid}</g>\n'
        f'<text x="{left - 8}" y="{top - 12}" text-anchor="end">fields an epoch</text>{ticks}\n{legend}\n{rows}</svg>\n'
    )


def rows_of(counts: dict[str, np.ndarray], lengths: dict[str, float]) -> list[dict]:
    """Figures for --json: by sampling the epoch's length, the imbalance, and every label's count."""
    rows = []
    for name, values in counts.items():
        figures = [("epoch_length", lengths[name], lengths["uniform"], "fields")]
        figures.append(
            (
                "imbalance",
                imbalance(values),
                imbalance(counts["uniform"]),
                "commonest / rarest label",
            )
        )
        figures += [
            (f"label_{i}", values[i], counts["uniform"][i], "fields an epoch")
            for i in range(len(LABELS))
        ]
        for what, value, peer, unit in figures:
            row = {
                "name": f"label_balance_{name}_{what}",
                "value": float(value),
                "unit": unit,
                "peer": "uniform",
            }
            ratio = float(value / peer) if peer else None
            rows.append(row | {"peer_value": float(peer), "ratio_to_peer": ratio, "device": "any"})
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", type=Path, required=True, help="labels: columns Id and Target")
    parser.add_argument(
        "--rare_below",
        type=int,
        default=350,
        help="hpa_densenet: fields below which a label is rare",
    )
    parser.add_argument(
        "--rare_copies", type=float, default=4.0, help="hpa_densenet: times a rare field is shown"
    )
    parser.add_argument(
        "--repeat_threshold", type=float, default=0.03, help="repeat_factor: share that is not rare"
    )
    parser.add_argument(
        "--settings", action="store_true", help="print what other settings would give"
    )
    parser.add_argument("--svg", type=Path, help="file for the plot")
    parser.add_argument("--json", type=Path, help="file for the rows")
    args = parser.parse_args(argv)
    settings = {
        name: getattr(args, name) for name in ("rare_below", "rare_copies", "repeat_threshold")
    }
    try:
        targets = read_targets(args.csv)
        shown = {name: sampling_factors(targets, name, **settings) for name in SAMPLINGS}
        counts = {name: effective_counts(targets, shown[name]) for name in SAMPLINGS}
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    lengths = {name: Order(shown[name], 0).epoch_length for name in SAMPLINGS}
    print(
        f"{args.csv.name}: {len(targets):,} fields; {', '.join(f'{k}={v:g}' for k, v in settings.items())}"
    )
    print(f"{'fields shown in an epoch':33}" + "".join(f"{TITLES[name]:>15}" for name in SAMPLINGS))
    for label in np.argsort(-counts["uniform"], kind="stable").tolist():
        print(
            f"{label:3} {LABELS[label]:29}"
            + "".join(f"{counts[name][label]:15,.0f}" for name in SAMPLINGS)
        )
    print(f"{'    length of an epoch':33}" + "".join(f"{lengths[name]:15,}" for name in SAMPLINGS))
    print(
        f"{'    commonest label / rarest':33}"
        + "".join(f"{imbalance(counts[name]):15,.0f}" for name in SAMPLINGS)
    )
    if args.settings:
        print_settings(targets)
    if args.svg:
        args.svg.write_text(svg(counts))
    if args.json:
        args.json.write_text(json.dumps(rows_of(counts, lengths), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
