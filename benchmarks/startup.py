"""How long from the command to the first finished step? DenseNet-121, beside the same in PyTorch; on this machine.

    python benchmarks/startup.py [--size=224] [--batch=8] [--repeats=3] [--json=FILE] [--data_dir=DIR]

Ours is `python -m hpa_jax.main` itself, for one step on the synthetic dataset (drawn if `--data_dir` is not given):
first `cold`, with an empty folder of compiled programs, then `warm`, with what that run left. PyTorch's is a script
that imports it, builds the net of `torch_densenet.py`, draws a batch, and does one step, eager; it reads no dataset,
keeps no log and saves nothing. A figure is the median of `--repeats`; the two take turns. A ratio above 1: ours takes
that many times as long.

Unusual: seconds are given twice, as they pass and as the processors count them, since another program on the machine
makes the first longer. The phases are seen from outside, by when a line of JAX's own log of compilations appears.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from train_step_sides import cpu_name

REPOSITORY = Path(__file__).resolve().parents[1]
# Where a phase ends: the first line of the log with these words.
PHASES = (
    ("imports, data, drawing weights", "steps (the first one compiles)"),
    ("tracing the step", "Finished tracing train_step"),
    ("lowering it", "Finished jaxpr to MLIR module conversion jit(train_step)"),
    ("compiling it, or loading it", "Finished XLA compilation of jit(train_step)"),
    ("the step itself, to the first log line", "step 1 of 1:"),
)
TORCH = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
from torch_densenet import DenseNet
net = DenseNet((6, 12, 24, 16), 32, 64, 28, 0.1, 0.2).to(memory_format=torch.channels_last)
size, batch = map(int, sys.argv[2:])
images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, size, size, 4), np.uint8))
optimizer = torch.optim.Adam(net.parameters(), 1e-4)
torch.nn.functional.binary_cross_entropy_with_logits(net(images), torch.zeros(batch, 28)).backward()
optimizer.step()
"""


def processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(args, data_dir: Path, cache: Path) -> dict:
    """Seconds to the end of each phase, and processor seconds of the whole process up to its end."""
    ends = {}
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-u", "-m", "hpa_jax.main", "--config=configs/quickstart.py"]
        command += [
            f"--workdir={workdir}/run",
            f"--config.data.data_dir={data_dir}",
            f"--config.model.name={args.net}",
        ]
        command += [
            f"--config.data.image_size={args.size}",
            f"--config.data.batch_size={args.batch}",
        ]
        command += ["--config.train.steps=1", "--config.checkpoint.keep=1"]
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(cache)}
        environment |= {"JAX_LOG_COMPILES": "1", "PYTHONUNBUFFERED": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        begun, seen = time.perf_counter(), []
        with subprocess.Popen(command, cwd=REPOSITORY, env=environment, **pipes) as process:
            for line in process.stdout:
                seen.append(line)
                for phase, words in PHASES:
                    if words in line:
                        ends.setdefault(phase, time.perf_counter() - begun)
                if PHASES[-1][0] in ends:
                    break  # what follows is the evaluation at the end of this run of one step
            used = _processor_seconds_of(process.pid)
            process.terminate()
            process.stdout.read()
    if PHASES[-1][0] not in ends:
        raise SystemExit("error: the run did not come to its first step:\n" + "".join(seen[-20:]))
    return {"seconds": ends[PHASES[-1][0]], "processor_seconds": used, "ends": ends}


def _processor_seconds_of(pid: int) -> float:
    """Of a process that runs, from /proc; nan where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def torch(args) -> dict:
    before, begun = processor_seconds(), time.perf_counter()
    command = [
        sys.executable,
        "-c",
        TORCH,
        str(Path(__file__).parent),
        str(args.size),
        str(args.batch),
    ]
    subprocess.run(command, check=True)
    return {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": processor_seconds() - before,
    }


def median(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def rows_of(kind: str, runs: list[dict], peers: list[dict], args) -> list[dict]:
    own, other = median(runs, "seconds"), median(peers, "seconds")
    print(
        f"{kind}: {own:.1f} s ({median(runs, 'processor_seconds'):.1f} processor seconds)",
        end="   ",
    )
    print(
        f"PyTorch {other:.1f} s ({median(peers, 'processor_seconds'):.1f})   ratio {own / other:.1f}"
    )
    last = 0.0
    phases = {}
    for phase, _ in PHASES:
        ends = [run["ends"][phase] for run in runs if phase in run["ends"]]
        if ends:
            phases[phase] = statistics.median(ends) - last
            last = statistics.median(ends)
            print(f"  {phase:<40} {phases[phase]:6.1f} s")
    row = {
        "name": f"startup_{kind}_{args.size}_cpu",
        "value": own,
        "unit": "s",
        "peer": "PyTorch, eager, no dataset",
    }
    row |= {
        "peer_value": other,
        "ratio_to_peer": own / other,
        "net": args.net,
        "batch": args.batch,
        "phases": phases,
    }
    row |= {"processor_seconds": median(runs, "processor_seconds")}
    row |= {"peer_processor_seconds": median(peers, "processor_seconds")}
    return [row | {"device": f"{cpu_name()}, {os.cpu_count()} cores", "repeats": len(runs)}]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--net", default="densenet121", help="of ours; the peer is DenseNet-121 in any case"
    )
    parser.add_argument("--size", type=int, default=224, help="px a side")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--data_dir", type=Path, help="with the dataset `synthetic`; none: it is drawn"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    args = parser.parse_args()
    runs = {"cold": [], "warm": []}
    peers = []
    with tempfile.TemporaryDirectory() as temporary:
        data_dir = args.data_dir or Path(temporary)
        if not args.data_dir:
            draw = [
                sys.executable,
                "-m",
                "tfds_builder.hpa",
                "--config=synthetic",
                "--images=80",
                "--size=64",
            ]
            subprocess.run(
                [*draw, f"--data_dir={data_dir}"],
                cwd=REPOSITORY,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        for number in range(args.repeats):
            print(f"[{number + 1}/{args.repeats}] cold, warm, PyTorch", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as cache:
                for kind in runs:
                    runs[kind].append(ours(args, data_dir, Path(cache)))
            peers.append(torch(args))
    rows = [row for kind in runs for row in rows_of(kind, runs[kind], peers, args)]
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
