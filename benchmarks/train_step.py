"""How fast is a step of DenseNet-121, beside the same net in PyTorch? Side by side on this machine, in one run.

    python benchmarks/train_step.py [--quick] [--json=FILE] [--only=cpu|gpu] [--rounds=5] [--seconds=6]

On the CPU: 224 px, batch 8, float32, all cores; the peer is PyTorch, eager, channels last. On one NVIDIA GPU: 512 px,
bfloat16, each side with the batch at which it is fastest (powers of two); the peer is PyTorch, channels last, with
autocast and torch.compile. Where JAX or PyTorch finds no GPU, those rows are left out, and it says so.

Three rows each: `train_step`, the step that hpa_jax.training.loop compiles (normalisation of uint8 images, forward, backward,
norm of the gradient, Adam, the guard against steps that are not finite), against forward, backward and Adam;
`inference`, probabilities of a batch; `exported`, the same by an exported artefact that was written out and read back,
in float32 as it always is. Data lie on the device. A figure is the median over the steps of all rounds, in which the
sides take turns; value and peer are images a second, so a ratio above 1 says that hpa_jax is the faster.

Unusual: each side is a process of its own that waits while the other measures (train_step_sides.py); on a GPU each may
use 45 % of the memory. Only JAX, Flax, Optax, NumPy and PyTorch are needed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from train_step_sides import KINDS, SHARE_OF_GPU

SIDES = ("jax", "torch")
WORKLOADS = {
    "cpu": {"net": "densenet121", "side": 224, "batch": 8, "dtype": "float32"},
    "gpu": {"net": "densenet121", "side": 512, "batch": 64, "dtype": "bfloat16"},
}
QUICK = {"net": "densenet_tiny", "side": 64, "batch": 2}
LARGEST_BATCH = 256
WORTH = 1.02
"""A batch twice as large that is not faster by this factor ends the search."""
SEARCH_SECONDS = {"train": 80, "inference": 40}
"""Of looking for a side's best batch: none is tried after that, so that the whole run stays below ten minutes."""


class Side:
    """One of the two processes."""

    def __init__(self, name: str, platform: str, cache: str):
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        if platform == "gpu":  # the cache: a batch that was tried is not compiled again
            environment = os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": str(SHARE_OF_GPU)}
            environment |= {"JAX_COMPILATION_CACHE_DIR": cache}
        command = [sys.executable, str(Path(__file__).with_name("train_step_sides.py")), name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.name, self._process = (
            name,
            subprocess.Popen(command, env=environment, text=True, **pipes),
        )

    def ask(self, **order) -> dict:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"error: the {self.name} side ended with status {self._process.wait()}; see above"
            )
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def say(text: str) -> None:
    print(f"[{time.perf_counter() - BEGUN:4.0f} s] {text}", file=sys.stderr, flush=True)


def images_per_second(steps: list[float], batch: int) -> float:
    return batch / statistics.median(steps)


def best_batch(side: Side, workload: dict, kind: str) -> int:
    """The power of two with which a GPU does most images a second, from the workload's batch upwards (or downwards)."""
    begun, batch, best, speed = time.perf_counter(), workload["batch"], 0, 0.0
    while (
        batch >= 1
        and batch <= LARGEST_BATCH
        and (not best or time.perf_counter() - begun < SEARCH_SECONDS[kind])
    ):
        prepared = side.ask(prepare=workload | {"batch": batch, "kinds": [kind]})
        if prepared.get("out_of_memory"):
            say(f"{side.name}, {kind}: batch {batch} does not fit")
            if best:
                break
            batch //= 2
            continue
        now = images_per_second(side.ask(measure={"what": kind, "seconds": 1.5})["steps"], batch)
        say(
            f"{side.name}, {kind}: batch {batch}: {now:.0f} images/s ({prepared['seconds']:.0f} s to build)"
        )
        if now < speed * WORTH:
            break
        best, speed, batch = batch, now, batch * 2
        if batch <= workload["batch"]:
            break  # came from above: twice as many did not fit
    if not best:
        raise SystemExit(f"error: not one image of {workload['side']} px fits on this GPU")
    return best


def compare(
    sides: list[Side],
    workload: dict,
    kinds: tuple[str, ...],
    batches: dict,
    rounds: int,
    seconds: float,
):
    """Images a second of each kind and side, and each side's seconds to build."""
    parameters, build = set(), {}
    for side in sides:
        say(f"{side.name}: building {', '.join(kinds)} at batch {batches[side.name]}")
        prepared = side.ask(prepare=workload | {"batch": batches[side.name], "kinds": kinds})
        if prepared.get("out_of_memory"):
            raise SystemExit(f"error: {side.name} ran out of memory at batch {batches[side.name]}")
        build[side.name] = prepared["seconds"]
        parameters.add(prepared["parameters"])
    assert len(parameters) == 1, f"the two nets differ: {parameters} parameters"
    steps = {(kind, side.name): [] for kind in kinds for side in sides}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for kind in kinds:
            for side in sides if number % 2 == 0 else sides[::-1]:
                share = seconds if kind == "train" else seconds / 3
                steps[kind, side.name] += side.ask(measure={"what": kind, "seconds": share})[
                    "steps"
                ]
    speeds = {key: images_per_second(taken, batches[key[1]]) for key, taken in steps.items()}
    return speeds, {key: len(taken) for key, taken in steps.items()}, build


def rows_of(platform: str, sides: list[Side], workload: dict, args) -> list[dict]:
    devices = {side.name: side.ask(device=1) for side in sides}
    device = devices["jax"]["name"]
    versions = f"{devices['jax']['version']}, {devices['torch']['version']}"
    print(
        f"{device} ({versions}): {workload['net']}, {workload['side']} px, {workload['dtype']}",
        flush=True,
    )
    groups = [KINDS]
    if platform == "gpu" and not args.quick:
        groups = [("train",), ("inference", "exported")]
    rows = []
    for kinds in groups:
        batches = {side.name: workload["batch"] for side in sides}
        if platform == "gpu":
            batches = {side.name: best_batch(side, workload, kinds[0]) for side in sides}
        rounds = (
            args.rounds if platform == "cpu" else min(args.rounds, 3)
        )  # on a GPU they scatter less
        speeds, counts, build = compare(sides, workload, kinds, batches, rounds, args.seconds)
        for kind in kinds:
            own, other = speeds[kind, "jax"], speeds[kind, "torch"]
            name = "train_step" if kind == "train" else kind
            dtype = "float32" if kind == "exported" else workload["dtype"]
            print(
                f"  {name:<10} hpa_jax {own:8.2f} images/s (batch {batches['jax']})   PyTorch {other:8.2f} "
                f"(batch {batches['torch']})   ratio {own / other:.2f}",
                flush=True,
            )
            row = {
                "name": f"{name}_{workload['side']}_{platform}",
                "value": own,
                "unit": "images/s",
            }
            way = (
                "channels last, autocast, torch.compile"
                if platform == "gpu"
                else "eager, channels last"
            )
            row |= {
                "peer": f"PyTorch, {way}",
                "peer_value": other,
                "ratio_to_peer": own / other,
                "device": device,
            }
            row |= {
                "net": workload["net"],
                "dtype": dtype,
                "batch": batches["jax"],
                "peer_batch": batches["torch"],
            }
            row |= {
                "steps": counts[kind, "jax"],
                "peer_steps": counts[kind, "torch"],
                "versions": versions,
            }
            rows.append(row | {"build_seconds": build["jax"], "peer_build_seconds": build["torch"]})
    return rows


def run(platform: str, workload: dict, args) -> list[dict]:
    cache = tempfile.TemporaryDirectory()
    sides = [Side(name, platform, cache.name) for name in SIDES]
    try:
        found = {side.name: side.ask(device=1) for side in sides}
        if platform == "gpu" and not all(device["gpu"] for device in found.values()):
            seen = ", ".join(f"{name} sees {device['name']}" for name, device in found.items())
            print(
                f"no GPU that both JAX and PyTorch can use ({seen}): its rows are left out",
                flush=True,
            )
            return []
        return rows_of(platform, sides, workload | {"block": args.block}, args)
    finally:
        for side in sides:
            side.close()
        cache.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=tuple(WORKLOADS), help="this device alone")
    parser.add_argument("--rounds", type=int, default=5, help="in which the sides take turns")
    parser.add_argument(
        "--seconds",
        type=float,
        default=6.0,
        help="of training a side and round; inference: a third",
    )
    parser.add_argument("--block", default="plain", help="config.model.block of the training step")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny net, one short round: does it run?"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 0.1
    rows = []
    for platform in [args.only] if args.only else WORKLOADS:
        rows += run(platform, WORKLOADS[platform] | (QUICK if args.quick else {}), args)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


BEGUN = time.perf_counter()
if __name__ == "__main__":
    main()
