"""How far intensity alone gets: logistic regression on histograms of the four channels, beside the net's figure.

    python benchmarks/histogram_baseline.py --data_dir=DIR --dataset=synthetic [--workdir=RUN] [--json=FILE]

A data set that needs looking leaves this baseline near guessing. Fitted on the train part, scored on the test part,
macro F1 at threshold 0.5 over all 28 labels, a label without positives and predictions counted as 0.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import EXIT_BAD_INPUT, InputError

BINS = 16


def intensity_histograms(images: np.ndarray) -> np.ndarray:
    """Shares of pixels in 16 equal bins of each channel: uint8 [N, H, W, 4] -> float32 [N, 64]."""
    rows = []
    for image in images:
        counts = [
            np.bincount(image[..., c].ravel() // (256 // BINS), minlength=BINS)
            for c in range(image.shape[-1])
        ]
        rows.append(np.concatenate(counts) / (image.shape[0] * image.shape[1]))
    return np.asarray(rows, np.float32)


def fit_and_score(
    train: np.ndarray,
    train_targets: np.ndarray,
    test: np.ndarray,
    test_targets: np.ndarray,
    class_weight: str | None = None,
) -> float:
    """Macro F1 at 0.5 of one logistic regression a label on standardised features.

    Features float [N, F], targets 0/1 [N, L]; `class_weight` as in scikit-learn. A label that is always or never
    present in the train part is predicted so.
    """
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
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


def _read(data_dir: str, dataset: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [N, 64] and targets uint8 [N, 28] of one part, field by field: a part need not fit in memory."""
    features, targets = [], []
    fields = load_dataset(data_dir, dataset, split=part)
    for position in range(len(fields)):
        field = fields[position]
        features.append(intensity_histograms(field["image"][None])[0])
        targets.append(field["targets"])
    if not features:
        raise InputError(
            f"{data_dir}: part {part} of {dataset} holds no field: build the data set with a {part} part"
        )
    return np.stack(features), np.stack(targets)


def _net_score(workdir: str) -> float:
    path = Path(workdir) / "evaluation.json"
    try:
        return float(json.loads(path.read_text())["macro_f1"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: no macro_f1 to read: run --mode=evaluate with this --workdir first"
        ) from error


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="folder of prepared data sets")
    parser.add_argument("--dataset", default="synthetic", help="builder config")
    parser.add_argument("--workdir", help="run whose evaluation.json holds the net's macro_f1")
    parser.add_argument("--json", help="file for the rows")
    args = parser.parse_args(argv)
    try:
        train, train_targets = _read(args.data_dir, args.dataset, "train")
        test, test_targets = _read(args.data_dir, args.dataset, "test")
        net = _net_score(args.workdir) if args.workdir else None
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    rows = []
    print(f"{args.dataset}: macro F1 at 0.5, {len(train)} fields to fit, {len(test)} to score")
    for name, class_weight in (
        ("histogram_baseline", None),
        ("histogram_baseline_balanced", "balanced"),
    ):
        score = fit_and_score(train, train_targets, test, test_targets, class_weight)
        ratio = score / net if net else None
        beside = (
            ""
            if net is None
            else f"   net {net:.3f}   baseline / net {'-' if ratio is None else f'{ratio:.2f}'}"
        )
        print(f"{name:28s} {score:.3f}{beside}")
        rows.append(
            {
                "name": name,
                "value": score,
                "unit": "macro F1 at 0.5",
                "peer": net,
                "ratio_to_peer": ratio,
                "device": "cpu",
            }
        )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
