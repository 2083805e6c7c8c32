"""Bootstrap intervals of every figure beside a loop over scikit-learn on resampled arrays.

    python benchmarks/bootstrap.py [--fields=31072] [--labels=28] [--replicates=1000] [--peer_replicates=3] [--json=F]

Ours draws the replicates, takes macro, micro and samples F1, precision, recall and accuracy of two sets of decisions,
average precision and AUC (macro, micro, and of each label) and calibration error of each, and the intervals. The peer
takes of each replicate what scikit-learn has: F1 macro, micro and samples of both sets, average precision and AUC,
macro and micro; no calibration error. Its time is that of `--peer_replicates`, brought up to `--replicates`. The
largest difference between both on the peer's replicates is printed, too.

Seconds are of the wall clock and of the processor (all threads): the second does not mind a busy machine.
"""

import argparse
import json
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hpa_jax.metrics import bootstrap, resampling, weighted  # noqa: E402

# positives of the 28 labels among the challenge's 31,072 training fields
POSITIVES = (
    *(12885, 1254, 3621, 1561, 1858, 2513, 1008, 2822, 53, 45, 28, 1093, 688, 537),
    *(1066, 21, 530, 210, 902, 1482, 172, 3777, 802, 2965, 322, 8228, 328, 11),
)


def arrays(fields: int, labels: int):
    """Scores without ties, float32 [N, L], targets with the challenge's shares, and two sets of decisions."""
    rng = np.random.default_rng(0)
    share = np.resize(POSITIVES, labels) / 31072
    targets = (rng.random((fields, labels)) < share).astype(np.uint8)
    targets[rng.integers(fields, size=labels), np.arange(labels)] = 1  # each label is borne
    logits = rng.normal(size=targets.shape) * 1.5 + 2.5 * targets + np.log(share / (1 - share))
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return scores, targets, {"": scores > 0.5, "_crossfit": scores > 0.3}


def peer(scores, targets, decisions) -> dict:
    """The same figures by scikit-learn."""
    found = {}
    for suffix, decided in decisions.items():
        for average in ("macro", "micro", "samples"):
            found[f"{average}_f1{suffix}"] = f1_score(
                targets, decided, average=average, zero_division=0
            )
    for name, of in (("average_precision", average_precision_score), ("auc", roc_auc_score)):
        defined = [i for i in range(targets.shape[1]) if 0 < targets[:, i].sum() < len(targets)]
        found[f"macro_{name}"] = np.mean([of(targets[:, i], scores[:, i]) for i in defined])
        found[f"micro_{name}"] = of(targets.ravel(), scores.ravel())
    return found


def clock(function):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("fields", 31072),
        ("labels", 28),
        ("replicates", 1000),
        ("peer_replicates", 3),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    scores, targets, decisions = arrays(args.fields, args.labels)

    def ours():
        return bootstrap.bootstrap_intervals(
            targets, decisions=decisions, scores=scores, replicates=args.replicates
        )

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, wall, cpu = clock(ours)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    drawn = bootstrap.bootstrap_weights(args.fields, range(args.peer_replicates))

    def theirs():
        for r in range(args.peer_replicates):
            rows = np.repeat(np.arange(args.fields), drawn[:, r])
            yield peer(
                scores[rows], targets[rows], {name: d[rows] for name, d in decisions.items()}
            )

    found, peer_wall, peer_cpu = clock(lambda: list(theirs()))
    scale = args.replicates / args.peer_replicates
    group = np.arange(args.fields)
    problem = resampling.prepare(
        targets, decisions=decisions, scores=scores, group=group, groups=args.fields
    )
    own, _ = weighted.weighted_metrics(problem, drawn)
    difference = max(abs(own[name][r] - row[name]) for r, row in enumerate(found) for name in row)
    what = f"{args.replicates} replicates of {args.fields} x {args.labels}"
    print(f"{what:<36} {'wall s':>9} {'cpu s':>9}")
    print(
        f"{'all figures, ours':<36} {wall:>9.1f} {cpu:>9.1f}   {memory:.0f} MB more memory at the most"
    )
    print(f"{'some of them, scikit-learn':<36} {peer_wall * scale:>9.0f} {peer_cpu * scale:>9.0f}")
    print(f"{'ratio':<36} {peer_wall * scale / wall:>9.0f} {peer_cpu * scale / cpu:>9.0f}")
    print(f"largest difference of a figure of the same replicate: {difference:.1e}")
    if args.json:
        name = f"bootstrap_{args.replicates}_of_{args.fields}x{args.labels}"
        shared = {"peer": "scikit-learn", "device": platform.processor() or platform.machine()}
        rows = [
            {
                "name": name,
                "value": wall,
                "unit": "s",
                "ratio_to_peer": peer_wall * scale / wall,
                **shared,
            },
            {
                "name": f"{name}_cpu",
                "value": cpu,
                "unit": "s",
                "ratio_to_peer": peer_cpu * scale / cpu,
                **shared,
            },
        ]
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
