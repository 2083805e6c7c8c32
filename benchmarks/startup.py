"""How long from the command to the first finished step? DenseNet-121, beside the same in PyTorch.

    python benchmarks/startup.py [--size=224] [--batch=8] [--repeats=3] [--json=FILE]

Ours is `python -m hpa_jax.main` itself, for one step on the synthetic dataset (drawn if
`--data_dir` is not given): first `cold`, with an empty folder of compiled programs, then `warm`,
with what that run left. PyTorch's is a script that imports it, builds the net of
`torch_densenet.py`, draws a batch, and does one step, eager; it reads no dataset, keeps no log and
saves nothing. A value is the median of `--repeats`, in which the two take turns. A ratio above 1:
ours takes that many times as long.

Notes: seconds are given twice, elapsed and CPU seconds, since another program on the machine makes
the first longer. The phases are seen from outside, by when a line of JAX's own log of compilations
appears.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from checkout import BENCHMARKS, REPOSITORY
from command_line import make_parser
from processes import cpu_seconds, cpu_seconds_of
from results import cpu_name, make_row, with_cores, write_rows

from hpa_jax.environment.paths import path_flag
from hpa_jax.environment.program import run_program

# Each phase, and the words of the line of the log at which it ends.
PHASES = {
    "imports, data, drawing weights": "steps (the first one compiles)",
    "tracing the step": "Finished tracing train_step",
    "lowering it": "Finished jaxpr to MLIR module conversion jit(train_step)",
    "compiling it, or loading it": "Finished XLA compilation of jit(train_step)",
    "the step itself, to the first log line": "step 1 of 1:",
}
LAST_PHASE = "the step itself, to the first log line"

TORCH = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_densenet import DenseNet
net = DenseNet((6, 12, 24, 16), 32, 64, 28, 0.1, 0.2).to(memory_format=torch.channels_last)
size, batch = map(int, sys.argv[2:])
rng = np.random.default_rng(0)
images = torch.from_numpy(rng.integers(0, 256, (batch, size, size, 4), np.uint8))
optimizer = torch.optim.Adam(net.parameters(), 1e-4)
binary_cross_entropy_with_logits(net(images), torch.zeros(batch, 28)).backward()
optimizer.step()
"""


def start_ours(args: argparse.Namespace, data_dir: Path, cache: Path) -> dict:
    """Runs hpa_jax to the end of its first step.

    Returns:
      `ends`, the seconds to the end of each phase; `seconds`, to the end of the last one; and
      `cpu_seconds` up to there, None without /proc.
    """
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_LOG_COMPILES": "1",
        "PYTHONUNBUFFERED": "1",
    }
    ends = {}
    log = []
    with tempfile.TemporaryDirectory() as folder:
        flags = [
            "--config=configs/quickstart.py",
            f"--workdir={folder}/run",
            f"--config.data.data_dir={data_dir}",
            f"--config.model.name={args.net}",
            f"--config.data.image_size={args.size}",
            f"--config.data.batch_size={args.batch}",
            "--config.train.steps=1",
            "--config.checkpoint.keep=1",
        ]
        start = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-u", "-m", "hpa_jax.main", *flags],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout:
                log.append(line)
                for phase, words in PHASES.items():
                    if words in line:
                        ends.setdefault(phase, time.perf_counter() - start)
                if LAST_PHASE in ends:
                    break  # what follows is the evaluation at the end of this run of one step
            used = cpu_seconds_of(process.pid)
            process.terminate()
            process.stdout.read()
    if LAST_PHASE not in ends:
        raise SystemExit("error: the run did not come to its first step:\n" + "".join(log[-20:]))
    return {"seconds": ends[LAST_PHASE], "cpu_seconds": used, "ends": ends}


def start_torch(args: argparse.Namespace) -> dict:
    """Runs PyTorch's script; returns its `seconds` and `cpu_seconds`."""
    arguments = [str(BENCHMARKS), str(args.size), str(args.batch)]
    cpu_start = cpu_seconds(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", TORCH, *arguments], check=True)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": cpu_seconds(resource.RUSAGE_CHILDREN) - cpu_start,
    }


def median(runs: list[dict], key: str) -> float:
    """Of a value of each run; nan if there is none."""
    values = [run[key] for run in runs if run[key] is not None]
    if not values:
        return float("nan")
    return statistics.median(values)


def phase_seconds(runs: list[dict]) -> dict[str, float]:
    """Of each phase that was seen, from the medians of the ends."""
    seconds = {}
    previous_end = 0.0
    for phase in PHASES:
        ends = [run["ends"][phase] for run in runs if phase in run["ends"]]
        if ends:
            end = statistics.median(ends)
            seconds[phase] = end - previous_end
            previous_end = end
    return seconds


def report(kind: str, runs: list[dict], peers: list[dict], args: argparse.Namespace) -> dict:
    """Prints the lines of `cold` or `warm`, and returns the row."""
    own = median(runs, "seconds")
    own_cpu = median(runs, "cpu_seconds")
    other = median(peers, "seconds")
    other_cpu = median(peers, "cpu_seconds")
    print(
        f"{kind}: {own:.1f} s ({own_cpu:.1f} CPU seconds)   "
        f"PyTorch {other:.1f} s ({other_cpu:.1f})   ratio {own / other:.1f}"
    )
    phases = phase_seconds(runs)
    for phase, seconds in phases.items():
        print(f"  {phase:<40} {seconds:6.1f} s")
    return make_row(
        f"startup_{kind}_{args.size}_cpu",
        own,
        "s",
        peer="PyTorch, eager, no dataset",
        peer_value=other,
        device=with_cores(cpu_name()),
        net=args.net,
        batch=args.batch,
        phases=phases,
        processor_seconds=own_cpu,
        peer_processor_seconds=other_cpu,
        repeats=len(runs),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--net", default="densenet121", help="of ours; the peer is DenseNet-121 in any case"
    )
    parser.add_argument("--size", type=int, default=224, help="px a side")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--data_dir",
        type=path_flag("--data_dir"),
        help="has the dataset `synthetic` (default: it is drawn)",
    )
    compare(parser.parse_args(argv))
    return 0


def compare(args: argparse.Namespace) -> None:
    """Measures both in turn, prints the tables and writes the rows."""
    runs = {"cold": [], "warm": []}
    peers = []
    with tempfile.TemporaryDirectory() as temporary:
        data_dir = args.data_dir
        if data_dir is None:
            data_dir = Path(temporary)
            draw_dataset(data_dir)
        for number in range(1, args.repeats + 1):
            print(f"[{number}/{args.repeats}] cold, warm, PyTorch", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as cache:
                for kind in runs:
                    runs[kind].append(start_ours(args, data_dir, Path(cache)))
            peers.append(start_torch(args))
    write_rows(args.json, [report(kind, runs[kind], peers, args) for kind in runs])


def draw_dataset(data_dir: Path) -> None:
    """Draws the synthetic dataset, small."""
    flags = ["--config=synthetic", "--images=80", "--size=64", f"--data_dir={data_dir}"]
    subprocess.run(
        [sys.executable, "-m", "tfds_builder.hpa", *flags],
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    run_program(main)
