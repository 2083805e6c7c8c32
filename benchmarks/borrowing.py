"""Cross-fitted macro F1 with and without shrinking the thresholds of rare labels.

    python benchmarks/borrowing.py [--scores=S.npy --targets=T.npy] [--seeds=5] [--json=FILE]

A label with few positives has its threshold shrunk toward a regression on prevalence. On simulated
scores, and on given ones. Simulated are 6,000 images with the 28 labels as frequent as in the
challenge; in the logits of each label, positives and negatives are about `separation` standard
deviations apart, by another amount for each label. The scores are calibrated; or the logits of
each label are off by another constant (shifted); or the net was trained on balanced labels. The
peer of each row is the same cross-fit with every label by itself (few_positives 0), and the ratio
is that of macro F1.
"""

import platform
from collections.abc import Sequence

import numpy as np
from challenge import label_frequencies
from command_line import make_parser, run
from results import make_row, write_rows

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program
from hpa_jax.evaluation.score_arrays import load_scores
from hpa_jax.metrics.crossfitting import crossfit

FEW_POSITIVES = (0, 5, 10)
SEPARATIONS = (2.0, 3.0)
KINDS = ("calibrated", "shifted", "balanced")

ScoresAndTargets = tuple[np.ndarray, np.ndarray]


def simulate(separation: float, kind: str, seed: int, images: int = 6000) -> ScoresAndTargets:
    """Scores float32 `[images, 28]` and targets bool, of one of KINDS."""
    rng = np.random.default_rng(seed)
    frequencies = label_frequencies()
    targets = rng.random((images, len(frequencies))) < frequencies
    distances = separation * np.exp(rng.normal(0, 0.25, len(frequencies)))
    evidence = rng.normal(size=targets.shape) + distances * targets
    logits = distances * evidence - distances**2 / 2
    logits += -2 if kind == "balanced" else np.log(frequencies / (1 - frequencies))
    if kind == "shifted":
        logits += rng.normal(size=len(frequencies))
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def crossfit_macro_f1(
    scores: np.ndarray, targets: np.ndarray, few_positives: int, seed: int
) -> float:
    metrics = crossfit(scores, targets, seed=seed, few_positives=few_positives)
    return metrics["crossfit"]["macro_f1"]


def make_cases(args) -> dict[str, list[ScoresAndTargets]]:
    """By name, scores and targets for each seed."""
    cases = {}
    for separation in SEPARATIONS:
        for kind in KINDS:
            name = f"simulated_{kind}_{separation}"
            cases[name] = [simulate(separation, kind, seed) for seed in range(args.seeds)]
    if args.scores:
        # The same arrays every time: the seed then only assigns the folds.
        cases[args.scores.stem] = [load_scores(args.scores, args.targets)] * args.seeds
    return cases


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scores", type=path_flag("--scores"), help="float .npy [N, L]")
    parser.add_argument("--targets", type=path_flag("--targets"), help="0/1 .npy [N, L]")
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


def compare(args) -> None:
    """Prints a line a case and writes the rows."""
    cases = make_cases(args)
    title = f"cross-fitted macro F1, means of {args.seeds}"
    columns = "".join(f"{f'few {few}':>10}" for few in FEW_POSITIVES)
    print(f"{title:<36}{columns}")
    rows = []
    for name, by_seed in cases.items():
        values = np.zeros((len(by_seed), len(FEW_POSITIVES)))
        for seed, (scores, targets) in enumerate(by_seed):
            for column, few in enumerate(FEW_POSITIVES):
                values[seed, column] = crossfit_macro_f1(scores, targets, few, seed)
        means = values.mean(axis=0)
        rises = []
        for column, few in enumerate(FEW_POSITIVES[1:], start=1):
            better = np.sum(values[:, column] > values[:, 0])
            rises.append(f"few {few}: up in {better}")
        cells = "".join(f"{mean:>10.4f}" for mean in means)
        print(f"{name:<36}{cells}   {', '.join(rises)}", flush=True)
        for few, mean in zip(FEW_POSITIVES[1:], means[1:], strict=True):
            row = make_row(
                f"{name}_few_{few}",
                mean,
                "macro F1",
                peer="few_positives 0",
                ratio_to_peer=mean / means[0],
                device=platform.machine(),
            )
            rows.append(row)
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
