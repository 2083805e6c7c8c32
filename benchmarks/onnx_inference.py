"""CPU time of an image: model.onnx by onnxruntime, beside the same net by jax.export and PyTorch.

    python benchmarks/onnx_inference.py [--size=512] [--batch=1] [--rounds=5] [--json=FILE]

DenseNet-121 with the linear head. All of them on one core, in turns, so that other work on the
machine meets each alike: a value is the smallest CPU time, of all threads of this process, of the
rounds. The weights are drawn, and what model.onnx gives is compared with what JAX gives before.
PyTorch's is the net of `torch_densenet.py`, eager, with weights of its own.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence

from checkout import REPOSITORY
from command_line import make_parser, run
from results import cpu_name, make_row, write_rows

PEER = "jax.export"
LABELS = 28


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints a table; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--size", type=int, default=512, help="px a side")
    parser.add_argument("--batch", type=int, default=1, help="images at once")
    parser.add_argument("--rounds", type=int, default=5, help="turns")
    flags = parser.parse_args(arguments)

    def work() -> None:
        rows = compare(flags.size, flags.batch, flags.rounds)
        write_rows(flags.json, rows)

    return run(work)


def compare(size: int, batch: int, rounds: int) -> list[dict]:
    """Measures all sides in turns; returns a row for each but the peer."""
    # Before JAX starts its threads.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    sides = make_sides(size, batch)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for call in sides.values():
        call()
    for _ in range(rounds):
        for name, call in sides.items():
            times[name].append(cpu_seconds(call) / batch)
    reference = min(times[PEER])
    print(f"DenseNet-121, {size} px, batch {batch}, one core of {cpu_name()}")
    rows = []
    for name, values in times.items():
        least = min(values)
        print(f"{name:<12}{1000 * least:>8.1f} CPU ms an image{least / reference:>7.2f} of {PEER}")
        if name != PEER:
            row = make_row(
                name,
                1000 * least,
                "CPU ms/image",
                device=cpu_name(),
                peer=PEER,
                peer_value=1000 * reference,
                size=size,
                batch=batch,
            )
            rows.append(row)
    return rows


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU seconds of all threads that a call takes."""
    start = time.process_time()
    call()
    return time.process_time() - start


def make_sides(size: int, batch: int) -> dict[str, Callable[[], object]]:
    """What is compared, by name: functions that score the same images once."""
    sys.path.append(str(REPOSITORY / "tests"))
    import jax
    import numpy as np
    from safetensors.numpy import save
    from support.onnx_nets import images_of, model_of, net_config, variables_of

    from hpa_jax.serving.forward import export_forward
    from hpa_jax.serving.jax_backend import open_forward
    from hpa_jax.serving.onnx.session import open_session
    from hpa_jax.serving.onnx.weights import with_8_bit_weights, with_half_weights
    from hpa_jax.serving.onnx.write import as_bytes

    jax.config.update("jax_platforms", "cpu")
    config = net_config("densenet121", "linear", "rgby", size)
    variables = variables_of(config)
    images = images_of(size, batch)
    exported = bytes(export_forward(config, variables).serialize())
    forward, _ = open_forward(exported, save(variables), "the export")
    model = model_of(config, variables)
    models = {
        "onnx": model,
        "onnx fp16": with_half_weights(model),
        "onnx int8": with_8_bit_weights(model, images_of(size, 2, seed=2)),
    }
    wanted = ("probabilities",)
    expected = forward(images, wanted)["probabilities"]
    sides = {PEER: lambda: forward(images, wanted)}
    for name, content in models.items():
        score, _ = open_session(as_bytes(content), name, threads=1)
        difference = np.abs(score(images, wanted)["probabilities"] - expected).max()
        print(f"{name}: largest difference from {PEER} {difference:.1e}")
        sides[name] = lambda score=score: score(images, wanted)
    sides["torch"] = torch_side(images)
    return sides


def torch_side(images) -> Callable[[], object]:
    """The same net in PyTorch, on uint8 images `[B, H, W, 4]`."""
    import torch
    from torch_densenet import DenseNet

    torch.set_num_threads(1)
    net = DenseNet((6, 12, 24, 16), growth=32, stem=64, labels=LABELS, mean=0.1, std=0.1)
    net.eval()
    pixels = torch.from_numpy(images)

    def call():
        with torch.inference_mode():
            return torch.sigmoid(net(pixels)).numpy()

    return call


if __name__ == "__main__":
    sys.exit(main())
