"""How far intensity alone gets: logistic regression on histograms of the four channels.

    python benchmarks/histogram_baseline.py --data_dir=DIR --dataset=synthetic [--workdir=RUN]

A dataset that wants looking at leaves this baseline near guessing. It is fitted on the split
`train` and scored on `test`: macro F1 at threshold 0.5 over all 28 labels, where a label without
positives and predictions counts as 0. With --workdir its metric stands beside that of the net.
"""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import checkout  # noqa: F401
import numpy as np
from command_line import make_parser, run
from results import make_row, write_rows
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from hpa_jax.data.catalog import load_dataset
from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError
from hpa_jax.probe.histogram import intensity_histograms

CLASS_WEIGHTS = {"histogram_baseline": None, "histogram_baseline_balanced": "balanced"}


def fit_and_score(
    train: np.ndarray,
    train_targets: np.ndarray,
    test: np.ndarray,
    test_targets: np.ndarray,
    class_weight: str | None = None,
) -> float:
    """Macro F1 at 0.5 of one logistic regression a label on standardized features.

    A label that is always or never present in training is predicted so.

    Args:
      train, test: features, float `[N, F]`.
      train_targets, test_targets: 0/1 `[N, L]`.
      class_weight: as in scikit-learn.
    """
    scaler = StandardScaler().fit(train)
    train = scaler.transform(train)
    test = scaler.transform(test)
    predicted = np.zeros(test_targets.shape, int)
    for label in range(train_targets.shape[1]):
        column = train_targets[:, label]
        if column.min() == column.max():
            predicted[:, label] = column[0]
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(class_weight=class_weight, max_iter=300).fit(train, column)
        predicted[:, label] = model.predict_proba(test)[:, 1] > 0.5
    return float(f1_score(test_targets, predicted, average="macro", zero_division=0))


def _read_split(data_dir: str, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 `[N, 64]` and targets uint8 `[N, 28]`; images need not fit in memory."""
    dataset = load_dataset(data_dir, name, split=split)
    features = []
    targets = []
    for position in range(len(dataset)):
        example = dataset[position]
        features.append(intensity_histograms(example["image"][None])[0])
        targets.append(example["targets"])
    if not features:
        raise InputError(
            f"{data_dir}: split {split} of {name} holds no image: build the dataset with one"
        )
    return np.stack(features), np.stack(targets)


def _net_macro_f1(workdir: Path) -> float:
    path = workdir / "evaluation.json"
    try:
        return float(json.loads(path.read_text())["macro_f1"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: no macro_f1 to read: run --mode=evaluate with this --workdir first"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--data_dir",
        type=path_flag("--data_dir"),
        required=True,
        help="folder of prepared datasets",
    )
    parser.add_argument("--dataset", default="synthetic", help="its name there")
    parser.add_argument(
        "--workdir",
        type=path_flag("--workdir"),
        help="run whose evaluation.json holds the net's macro_f1",
    )
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


def compare(args) -> None:
    """Fits both baselines, prints them and writes the rows."""
    train, train_targets = _read_split(args.data_dir, args.dataset, "train")
    test, test_targets = _read_split(args.data_dir, args.dataset, "test")
    net = None
    if args.workdir:
        net = _net_macro_f1(args.workdir)
    print(f"{args.dataset}: macro F1 at 0.5, {len(train)} images to fit, {len(test)} to score")
    rows = []
    for name, class_weight in CLASS_WEIGHTS.items():
        score = fit_and_score(train, train_targets, test, test_targets, class_weight)
        ratio = None
        beside = ""
        if net is not None:
            ratio = score / net if net else None
            shown_ratio = "-" if ratio is None else f"{ratio:.2f}"
            beside = f"   net {net:.3f}   baseline / net {shown_ratio}"
        print(f"{name:28s} {score:.3f}{beside}")
        row = make_row(name, score, "macro F1 at 0.5", peer=net, ratio_to_peer=ratio, device="cpu")
        rows.append(row)
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
