"""How fast is a step of DenseNet-121, beside the same net in PyTorch? Side by side, in one run.

    python benchmarks/train_step.py [--quick] [--json=FILE] [--only=cpu|gpu] [--rounds=5]
                                    [--side=224] [--batch=8]

On the CPU: 224 px, batch 8, float32, all cores; the peer is PyTorch, eager, channels last. Both
are measured as people start them, and with memory in huge pages, as hpa_jax.main starts itself; the
memory that each has taken at most is printed too.

On one NVIDIA GPU: 512 px, bfloat16, each side with the batch at which it is fastest (powers of
two); the peer is PyTorch, channels last, with autocast and torch.compile. Where JAX or PyTorch
finds no GPU, those rows are left out, with a line that says so.

Three rows each. `train_step`: the step that hpa_jax.training compiles (normalizing uint8 images,
forward, backward, norm of the gradient, Adam, the guard against steps that are not finite), against
forward, backward and Adam. `inference`: probabilities of a batch. `exported`: the same by an
exported artifact that was written out and read back, in float32 as it always is. Data lie on the
device. A value is the median over the steps of all rounds, in which the sides take turns; value and
peer are images a second, so a ratio above 1 says that hpa_jax is the faster.

Notes: each side is a process of its own that waits while another measures
(train_step_sides.py); on a GPU each may use 45 % of the memory. Only JAX, Flax, Optax, NumPy and
PyTorch are needed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

from checkout import BENCHMARKS
from command_line import make_parser
from results import make_row, write_rows
from timing import images_per_second
from train_step_work import GPU_MEMORY_FRACTION, KINDS, SIDES

from hpa_jax.environment import huge_pages
from hpa_jax.environment.program import run_program

WORKLOADS = {
    "cpu": {"net": "densenet121", "side": 224, "batch": 8, "dtype": "float32"},
    "gpu": {"net": "densenet121", "side": 512, "batch": 64, "dtype": "bfloat16"},
}
QUICK = {"net": "densenet_tiny", "side": 64, "batch": 2}
PEERS = {
    "cpu": "PyTorch, eager, channels last",
    "gpu": "PyTorch, channels last, autocast, torch.compile",
}
ROW_NAMES = {"train": "train_step", "inference": "inference", "exported": "exported"}
LARGEST_BATCH = 256
WORTHWHILE = 1.02
"""A batch twice as large that is not faster by this factor ends the search."""
SEARCH_SECONDS = {"train": 80, "inference": 40}
"""Of looking for a side's best batch: none is tried after that, so that the run stays below ten
minutes."""

SMALL = "small pages"
HUGE = "huge pages"
"""How the memory of a process on the CPU is mapped."""

START = time.perf_counter()


class Side:
    """One of the processes.

    Attributes:
      name: of SIDES.
      pages: SMALL or HUGE.
    """

    def __init__(self, name: str, platform: str, cache: str, pages: str = SMALL):
        self.name = name
        self.pages = pages
        environment = dict(os.environ)
        environment.pop(huge_pages.TUNABLES, None)
        if pages == HUGE:
            environment[huge_pages.TUNABLES] = huge_pages.HUGE
        if platform == "gpu":
            environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = str(GPU_MEMORY_FRACTION)
            # A batch that was tried is not compiled again.
            environment["JAX_COMPILATION_CACHE_DIR"] = cache
        else:
            environment["JAX_PLATFORMS"] = "cpu"
        self._process = subprocess.Popen(
            [sys.executable, str(BENCHMARKS / "train_step_sides.py"), name],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def device(self) -> dict:
        """`gpu`, `name` and `version`."""
        return self._ask({"device": 1})

    def prepare(self, workload: dict, kinds: Sequence[str], batch: int) -> dict:
        """`seconds` and `parameters`, or `out_of_memory`."""
        return self._ask({"prepare": workload | {"batch": batch, "kinds": list(kinds)}})

    def measure(self, kind: str, seconds: float) -> list[float]:
        """Seconds of each step in that time."""
        return self._ask({"measure": {"kind": kind, "seconds": seconds}})["steps"]

    def memory(self) -> int:
        """Bytes that the process has taken at most."""
        return self._ask({"memory": 1})["bytes"]

    def _ask(self, request: dict) -> dict:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise SystemExit(f"error: the {self.name} side ended with status {status}; see above")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


class Comparison(NamedTuple):
    """What the sides have measured.

    Attributes:
      speeds: images a second, by kind and side.
      steps: number of steps, by kind and side.
      build_seconds: by side.
    """

    speeds: dict[tuple[str, Side], float]
    steps: dict[tuple[str, Side], int]
    build_seconds: dict[Side, float]


def log(text: str) -> None:
    print(f"[{time.perf_counter() - START:4.0f} s] {text}", file=sys.stderr, flush=True)


def best_batch(side: Side, workload: dict, kind: str) -> int:
    """The power of two with which a GPU does most images a second.

    The search starts at the workload's batch and goes upward; where that does not fit, downward.
    """
    start = time.perf_counter()
    batch = workload["batch"]
    best = 0
    best_speed = 0.0
    while 1 <= batch <= LARGEST_BATCH:
        if best and time.perf_counter() - start > SEARCH_SECONDS[kind]:
            break
        prepared = side.prepare(workload, [kind], batch)
        if prepared.get("out_of_memory"):
            log(f"{side.name}, {kind}: batch {batch} does not fit")
            if best:
                break
            batch //= 2
            continue
        speed = images_per_second(side.measure(kind, 1.5), batch)
        log(
            f"{side.name}, {kind}: batch {batch}: {speed:.0f} images/s "
            f"({prepared['seconds']:.0f} s to build)"
        )
        if speed < best_speed * WORTHWHILE:
            break
        came_from_above = batch < workload["batch"]
        best = batch
        best_speed = speed
        if came_from_above:
            break  # twice as many did not fit
        batch *= 2
    if not best:
        raise SystemExit(f"error: not one image of {workload['side']} px fits on this GPU")
    return best


def compare(
    sides: list[Side],
    workload: dict,
    kinds: Sequence[str],
    batches: dict[str, int],
    rounds: int,
    seconds: float,
) -> Comparison:
    """Builds both sides and measures them in turn.

    Args:
      sides: the processes.
      workload: one of WORKLOADS.
      kinds: of steps, of KINDS.
      batches: by side.
      rounds: in which the sides take turns.
      seconds: of training a side and round; a third of it for the other kinds.
    """
    parameters = set()
    build_seconds = {}
    for side in sides:
        batch = batches[side.name]
        log(f"{side.name}, {side.pages}: building {', '.join(kinds)} at batch {batch}")
        prepared = side.prepare(workload, kinds, batch)
        if prepared.get("out_of_memory"):
            raise SystemExit(f"error: {side.name} ran out of memory at batch {batch}")
        build_seconds[side] = prepared["seconds"]
        parameters.add(prepared["parameters"])
    if len(parameters) != 1:
        raise SystemExit(f"error: the two nets differ: {parameters} parameters")

    taken = {(kind, side): [] for kind in kinds for side in sides}
    for number in range(rounds):
        log(f"round {number + 1} of {rounds}")
        in_turn = sides if number % 2 == 0 else sides[::-1]
        for kind in kinds:
            kind_seconds = seconds if kind == "train" else seconds / 3
            for side in in_turn:
                taken[kind, side] += side.measure(kind, kind_seconds)

    speeds = {}
    steps = {}
    for (kind, side), found in taken.items():
        speeds[kind, side] = images_per_second(found, batches[side.name])
        steps[kind, side] = len(found)
    return Comparison(speeds, steps, build_seconds)


def make_rows(
    platform: str, sides: list[Side], workload: dict, args: argparse.Namespace
) -> list[dict]:
    """Measures on one platform, prints the lines, and returns the rows.

    Args:
      platform: of WORKLOADS.
      sides: by pairs, hpa_jax's and its peer's; those in SMALL pages first.
      workload: to measure.
      args: of the command line.
    """
    devices = {side.name: side.device() for side in sides}
    device = devices["jax"]["name"]
    versions = f"{devices['jax']['version']}, {devices['torch']['version']}"
    print(
        f"{device} ({versions}): {workload['net']}, {workload['side']} px, {workload['dtype']}",
        flush=True,
    )
    rounds = args.rounds
    groups = [KINDS]
    if platform == "gpu":
        rounds = min(rounds, 3)  # they scatter less there
        if not args.quick:
            # The best batch of training is not that of inference.
            groups = [("train",), ("inference", "exported")]
    rows = []
    for kinds in groups:
        batches = {side.name: workload["batch"] for side in sides}
        if platform == "gpu":
            batches = {side.name: best_batch(side, workload, kinds[0]) for side in sides}
        found = compare(sides, workload, kinds, batches, rounds, args.seconds)
        pairs = list(zip(sides[::2], sides[1::2], strict=True))
        for kind in kinds:
            # PyTorch as people start it.
            usual = found.speeds[kind, sides[1]]
            for own_side, peer_side in pairs:
                own = found.speeds[kind, own_side]
                other = found.speeds[kind, peer_side]
                is_huge = own_side.pages == HUGE
                name = ROW_NAMES[kind]
                line = (
                    f"  {name:<10} hpa_jax {own:8.2f} images/s (batch {batches['jax']})   "
                    f"PyTorch {other:8.2f} (batch {batches['torch']})   ratio {own / other:.2f}"
                )
                if is_huge:
                    line += f"   {HUGE}; to PyTorch without {own / usual:.2f}"
                print(line, flush=True)
                row = make_row(
                    f"{name}_{workload['side']}_{platform}{'_huge_pages' * is_huge}",
                    own,
                    "images/s",
                    peer=PEERS[platform],
                    peer_value=other,
                    device=device,
                    net=workload["net"],
                    dtype="float32" if kind == "exported" else workload["dtype"],
                    pages=own_side.pages,
                    ratio_to_peer_in_small_pages=own / usual,
                    batch=batches["jax"],
                    peer_batch=batches["torch"],
                    steps=found.steps[kind, own_side],
                    peer_steps=found.steps[kind, peer_side],
                    versions=versions,
                    build_seconds=found.build_seconds[own_side],
                    peer_build_seconds=found.build_seconds[peer_side],
                )
                rows.append(row)
    if platform == "cpu":
        rows += memory_rows(pairs, workload, device)
    return rows


def memory_rows(pairs: Sequence[tuple[Side, Side]], workload: dict, device: str) -> list[dict]:
    """What each process has taken at most, all it did together."""
    rows = []
    for own_side, peer_side in pairs:
        own = own_side.memory()
        other = peer_side.memory()
        print(
            f"  memory     hpa_jax {own / 1e9:8.2f} GB at most, {own_side.pages}   "
            f"PyTorch {other / 1e9:8.2f}",
            flush=True,
        )
        row = make_row(
            f"memory_{workload['side']}_cpu{'_huge_pages' * (own_side.pages == HUGE)}",
            own,
            "bytes",
            peer=PEERS["cpu"],
            peer_value=other,
            device=device,
            net=workload["net"],
            batch=workload["batch"],
        )
        rows.append(row)
    return rows


def run_platform(platform: str, workload: dict, args: argparse.Namespace) -> list[dict]:
    """The rows of one platform; none where one of the two finds no GPU."""
    with tempfile.TemporaryDirectory() as cache:
        conditions = [SMALL]
        if platform == "cpu" and huge_pages.is_offered():
            conditions.append(HUGE)
        sides = [Side(name, platform, cache, pages) for pages in conditions for name in SIDES]
        try:
            devices = {side.name: side.device() for side in sides}
            if platform == "gpu" and not all(device["gpu"] for device in devices.values()):
                seen = ", ".join(f"{name} sees {found['name']}" for name, found in devices.items())
                print(
                    f"no GPU that both JAX and PyTorch can use ({seen}): its rows are left out",
                    flush=True,
                )
                return []
            return make_rows(platform, sides, workload, args)
        finally:
            for side in sides:
                side.close()


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--only", choices=tuple(WORKLOADS), help="this device alone")
    parser.add_argument("--rounds", type=int, default=5, help="in which the sides take turns")
    parser.add_argument(
        "--seconds",
        type=float,
        default=6.0,
        help="of training a side and round; inference: a third",
    )
    parser.add_argument("--side", type=int, help="of the images in px, on the CPU")
    parser.add_argument("--batch", type=int, help="images a step, on the CPU")
    parser.add_argument("--block", default="plain", help="config.model.block of the training step")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny net, one short round: does it run?"
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds = 1
        args.seconds = 0.1
    platforms = [args.only] if args.only else list(WORKLOADS)
    rows = []
    for platform in platforms:
        workload = WORKLOADS[platform] | {"block": args.block}
        if args.quick:
            workload |= QUICK
        if platform == "cpu":
            workload["side"] = args.side or workload["side"]
            workload["batch"] = args.batch or workload["batch"]
        rows += run_platform(platform, workload, args)
    write_rows(args.json, rows)
    return 0


if __name__ == "__main__":
    run_program(main)
