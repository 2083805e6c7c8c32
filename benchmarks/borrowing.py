"""What borrowed thresholds are worth: cross-fitted macro F1 with and without, on simulated and on given scores.

    python benchmarks/borrowing.py [--scores=S.npy --targets=T.npy] [--seeds=5] [--json=FILE]

Simulated: 6,000 fields with the 28 labels at the challenge's shares, scores of a net that parts each label's bearers
from the others by about `separation` standard deviations of its logit, each label by another amount. The scores are
calibrated; or each label's logits are off by another constant; or the net was trained on balanced labels. The peer of
each row is the same cross-fit with every label for itself (few_positives 0), and the ratio that of the macro F1.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hpa_jax.evaluation.score_arrays import load_scores
from hpa_jax.labels import TRAIN_COUNTS  # noqa: E402
from hpa_jax.metrics.crossfitting import crossfit  # noqa: E402

FEW = (0, 5, 10)


def simulated(separation: float, kind: str, seed: int, fields: int = 6000):
    """Scores float32 [fields, 28] and targets bool; `kind` is calibrated, shifted or balanced."""
    rng = np.random.default_rng(seed)
    share = np.array(TRAIN_COUNTS) / 31072
    targets = rng.random((fields, len(share))) < share
    apart = separation * np.exp(rng.normal(0, 0.25, len(share)))
    x = rng.normal(size=targets.shape) + apart * targets
    logits = apart * x - apart**2 / 2
    logits += -2 if kind == "balanced" else np.log(share / (1 - share))
    if kind == "shifted":
        logits += rng.normal(size=len(share))
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def macro(scores, targets, few: int, seed: int) -> float:
    return crossfit(scores, targets, seed=seed, few_positives=few)["crossfit"]["macro_f1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    for name in ("scores", "targets", "json"):
        parser.add_argument(f"--{name}", type=Path)
    args = parser.parse_args()
    cases = {
        f"simulated_{kind}_{separation}": [
            simulated(separation, kind, seed) for seed in range(args.seeds)
        ]
        for separation in (2.0, 3.0)
        for kind in ("calibrated", "shifted", "balanced")
    }
    if args.scores:
        cases[args.scores.stem] = [
            load_scores(args.scores, args.targets)
        ] * args.seeds  # as many dealings of the folds
    print(
        f"{'cross-fitted macro F1, means of ' + str(args.seeds):<36}"
        + "".join(f"{f'few {f}':>10}" for f in FEW)
    )
    rows = []
    for name, pairs in cases.items():
        found = np.array(
            [[macro(*pair, few, seed) for few in FEW] for seed, pair in enumerate(pairs)]
        )
        mean = found.mean(0)
        rises = [
            f"few {few}: up in {np.sum(found[:, i] > found[:, 0])}"
            for i, few in enumerate(FEW)
            if few
        ]
        print(
            f"{name:<36}" + "".join(f"{value:>10.4f}" for value in mean) + f"   {', '.join(rises)}",
            flush=True,
        )
        shared = {"unit": "macro F1", "peer": "few_positives 0", "device": platform.machine()}
        for few, value in zip(FEW[1:], mean[1:], strict=True):
            rows.append(
                {
                    "name": f"{name}_few_{few}",
                    "value": value,
                    "ratio_to_peer": value / mean[0],
                    **shared,
                }
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
