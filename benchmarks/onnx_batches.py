"""CPU time of an image in batches: where a server gains by running several at once.

    python benchmarks/onnx_batches.py [--models=densenet121] [--sizes=64,128] [--json=FILE]

model.onnx with the linear head and drawn weights, by onnxruntime, on one core. The batches take
turns, so that other work on the machine meets each alike: a value is the smallest CPU time, of all
threads of this process, of the rounds. The peer of a row is batch 1.
"""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence

from checkout import REPOSITORY
from command_line import make_parser, run
from results import cpu_name, make_row, write_rows

BATCHES = (1, 4, 8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints a line for each size; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--models", type=_names, default=["densenet_tiny", "densenet121"])
    parser.add_argument("--sizes", type=_numbers, default=[64, 96, 128, 192, 256], help="px a side")
    parser.add_argument("--rounds", type=int, default=7, help="turns")
    flags = parser.parse_args(arguments)
    return run(lambda: write_rows(flags.json, measure_all(flags)))


def measure_all(flags: Namespace) -> list[dict]:
    """The rows of all models and sizes."""
    # Before a library starts its threads.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    rows = []
    for model in flags.models:
        for size in flags.sizes:
            rows += measure(model, size, flags.rounds)
    return rows


def measure(model: str, size: int, rounds: int) -> list[dict]:
    """A row for each batch."""
    score, images = make_net(model, size)
    times: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for batch in BATCHES:
        score(images[:batch])
    # As many images for each batch: a short call is not to have a luckier smallest time.
    for _ in range(rounds):
        for batch in BATCHES:
            begun = time.process_time()
            for start in range(0, len(images), batch):
                score(images[start : start + batch])
            times[batch].append((time.process_time() - begun) / len(images))
    milliseconds = {batch: 1000 * min(values) for batch, values in times.items()}
    columns = [f"{batch}: {value:.2f}" for batch, value in milliseconds.items()]
    print(f"{model}, {size} px, CPU ms an image in batches of {', '.join(columns)}", flush=True)
    rows = []
    for batch, value in milliseconds.items():
        row = make_row(
            f"{model}, {size} px, batch {batch}",
            value,
            "CPU ms/image",
            device=cpu_name(),
            peer="batch 1",
            peer_value=milliseconds[1],
        )
        rows.append(row)
    return rows


def make_net(name: str, size: int) -> tuple[Callable, object]:
    """A function that scores images, and as many of them as the largest batch takes."""
    sys.path.append(str(REPOSITORY / "tests"))
    import jax
    from support.onnx_nets import images_of, model_of, net_config, variables_of

    from hpa_jax.serving.onnx.session import open_session
    from hpa_jax.serving.onnx.write import as_bytes

    jax.config.update("jax_platforms", "cpu")
    config = net_config(name, "linear", "rgby", size)
    model = as_bytes(model_of(config, variables_of(config)))
    run_model, _ = open_session(model, name, threads=1)
    images = images_of(size, max(BATCHES))
    return lambda batch: run_model(batch, ("probabilities",)), images


def _names(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
