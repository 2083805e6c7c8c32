"""Bootstrap intervals of every metric, beside a loop over scikit-learn on resampled arrays.

    python benchmarks/bootstrap.py [--images=31072] [--replicates=1000] [--json=FILE]

Ours draws the replicates and takes of each macro, micro and samples F1, precision, recall and
accuracy of two sets of decisions, average precision and AUC (macro, micro, and of each label) and
the calibration error; then the intervals. The peer takes of each replicate what scikit-learn has:
F1 (macro, micro, samples) of both sets, and average precision and AUC (macro, micro), but no
calibration error. Its time is that of `--peer_replicates`, scaled up to `--replicates`. The
largest difference between both on the peer's replicates is printed, too.

Seconds are given twice: elapsed, and CPU seconds of all threads, which other programs on the
machine hardly change.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from challenge import TRAIN_IMAGES, label_frequencies
from command_line import make_parser, run
from processes import peak_bytes
from results import machine_name, make_row, write_rows
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from hpa_jax.environment.program import run_program
from hpa_jax.metrics import bootstrap, resampling, weighted

Decisions = dict[str, np.ndarray]


def make_arrays(images: int, labels: int) -> tuple[np.ndarray, np.ndarray, Decisions]:
    """Random data with labels as frequent as in the challenge.

    Returns:
      Scores float32 `[N, L]` without ties, targets uint8 `[N, L]` with every label at least once,
      and two sets of decisions bool `[N, L]` by the suffix of their metrics.
    """
    rng = np.random.default_rng(0)
    frequencies = label_frequencies(labels)
    targets = (rng.random((images, labels)) < frequencies).astype(np.uint8)
    targets[rng.integers(images, size=labels), np.arange(labels)] = 1
    prior = np.log(frequencies / (1 - frequencies))
    logits = rng.normal(size=targets.shape) * 1.5 + 2.5 * targets + prior
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return scores, targets, {"": scores > 0.5, "_crossfit": scores > 0.3}


def sklearn_metrics(
    scores: np.ndarray, targets: np.ndarray, decisions: Decisions
) -> dict[str, float]:
    """The same metrics by scikit-learn, as far as it has them."""
    metrics = {}
    for suffix, decided in decisions.items():
        for average in ("macro", "micro", "samples"):
            value = f1_score(targets, decided, average=average, zero_division=0)
            metrics[f"{average}_f1{suffix}"] = value
    positives = targets.sum(axis=0)
    defined = np.flatnonzero((positives > 0) & (positives < len(targets)))
    ranking = {"average_precision": average_precision_score, "auc": roc_auc_score}
    for name, function in ranking.items():
        of_labels = [function(targets[:, label], scores[:, label]) for label in defined]
        metrics[f"macro_{name}"] = np.mean(of_labels)
        metrics[f"micro_{name}"] = function(targets.ravel(), scores.ravel())
    return metrics


def sklearn_replicates(
    scores: np.ndarray, targets: np.ndarray, decisions: Decisions, weights: np.ndarray
) -> Iterator[dict[str, float]]:
    """scikit-learn's metrics of each replicate; weights int `[N, R]` count each image's draws."""
    for column in weights.T:
        rows = np.repeat(np.arange(len(targets)), column)
        resampled = {suffix: decided[rows] for suffix, decided in decisions.items()}
        yield sklearn_metrics(scores[rows], targets[rows], resampled)


def timed(function: Callable) -> tuple[object, float, float]:
    """The result of `function()`, and the elapsed and CPU seconds that it took."""
    wall_start = time.perf_counter()
    cpu_start = time.process_time()
    result = function()
    wall = time.perf_counter() - wall_start
    cpu = time.process_time() - cpu_start
    return result, wall, cpu


def largest_difference(ours: dict[str, np.ndarray], theirs: list[dict[str, float]]) -> float:
    """Over all metrics that both have, and all replicates."""
    largest = 0.0
    for replicate, metrics in enumerate(theirs):
        for name, value in metrics.items():
            largest = max(largest, abs(ours[name][replicate] - value))
    return largest


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--images", "--fields", type=int, default=TRAIN_IMAGES)
    parser.add_argument("--labels", type=int, default=28)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--peer_replicates", type=int, default=3)
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


def compare(args) -> None:
    """Measures both, prints the table and writes the rows."""
    scores, targets, decisions = make_arrays(args.images, args.labels)
    memory_before = peak_bytes()
    _, wall, cpu = timed(
        lambda: bootstrap.bootstrap_intervals(
            targets, decisions=decisions, scores=scores, replicates=args.replicates
        )
    )
    memory = (peak_bytes() - memory_before) / 2**20

    weights = bootstrap.bootstrap_weights(args.images, range(args.peer_replicates))
    theirs, peer_wall, peer_cpu = timed(
        lambda: list(sklearn_replicates(scores, targets, decisions, weights))
    )
    scale = args.replicates / args.peer_replicates
    peer_wall *= scale
    peer_cpu *= scale

    problem = resampling.prepare(
        targets,
        decisions=decisions,
        scores=scores,
        group=np.arange(args.images),
        groups=args.images,
    )
    ours, _ = weighted.weighted_metrics(problem, weights)

    size = f"{args.images} x {args.labels}"
    print(f"{f'{args.replicates} replicates of {size}':<36} {'wall s':>9} {'cpu s':>9}")
    ours_line = f"{'all metrics, ours':<36} {wall:>9.1f} {cpu:>9.1f}"
    print(f"{ours_line}   {memory:.0f} MB more memory at the most")
    print(f"{'some of them, scikit-learn':<36} {peer_wall:>9.0f} {peer_cpu:>9.0f}")
    print(f"{'ratio':<36} {peer_wall / wall:>9.0f} {peer_cpu / cpu:>9.0f}")
    difference = largest_difference(ours, theirs)
    print(f"largest difference of a metric of the same replicate: {difference:.1e}")

    name = f"bootstrap_{args.replicates}_of_{args.images}x{args.labels}"
    device = machine_name()
    rows = []
    for row_name, seconds, peer_seconds in (
        (name, wall, peer_wall),
        (f"{name}_cpu", cpu, peer_cpu),
    ):
        # The other way around than elsewhere: how many times as long the peer takes.
        ratio = peer_seconds / seconds
        row = make_row(
            row_name, seconds, "s", peer="scikit-learn", ratio_to_peer=ratio, device=device
        )
        rows.append(row)
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
