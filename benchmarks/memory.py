"""What a training step is said to need before it runs, beside what the process then takes. Linux.

    python benchmarks/memory.py --net=densenet121 --size=256 --batch=8 --devices=1

Random images, float32, the net's plain form. `reserved` is what `hpa_jax/parallel/memory.py` goes
by; `taken` is the highest resident memory during two steps, less that before them.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from command_line import make_parser, run
from results import make_row, write_rows


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--net", default="densenet121")
    parser.add_argument("--size", type=int, default=256, metavar="PX")
    parser.add_argument("--batch", type=int, default=8, metavar="IMAGES")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="CPU devices")
    args = parser.parse_args(argv)
    return run(lambda: compare(args))


def compare(args: Namespace) -> None:
    """Prints a row for each number, in 10^9 bytes."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_num_cpu_devices", args.devices)
    from hpa_jax.config import Config
    from hpa_jax.parallel import memory
    from hpa_jax.parallel.compile import compile_for
    from hpa_jax.parallel.mesh import put_batch
    from hpa_jax.plan import measure, steps
    from hpa_jax.training import components, parts

    config = Config()
    config.data.image_size = args.size
    config.data.batch_size = args.batch
    config.data.mean = (0.1,) * 4
    config.data.std = (0.2,) * 4
    config.model.name = args.net
    config.model.head = "pooled"
    mesh = steps.mesh_of(config, jax.devices())
    setup = components.Setup(config, mesh, num_steps=steps.STEPS)
    variables = parts.initial_variables(setup.model, setup.input_shape, seed=0)
    state = setup.initial_state(variables)
    training = steps.training_step(config, mesh)
    program = compile_for("cpu", training.function, *training.arguments)
    evaluation = steps.evaluation_step(config, mesh)
    evaluation_program = evaluation.function.lower(*evaluation.arguments).compile()
    batch = put_batch(measure.random_arrays(training.arguments[1]), mesh)

    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back
    before = _resident("VmRSS")
    for _ in range(2):
        state, _ = program(state, batch)
        jax.block_until_ready(state)
    taken = _resident("VmHWM") - before
    reserved = memory.program_bytes(program) * args.devices
    of_evaluation = memory.program_bytes(evaluation_program) * args.devices

    facts = {
        "net": args.net,
        "size": args.size,
        "batch": args.batch,
        "devices": args.devices,
        "device": "cpu",
    }
    rows = [
        make_row("taken", taken / 1e9, "GB", peer="reserved", peer_value=reserved / 1e9, **facts),
        make_row(
            "evaluation, reserved",
            of_evaluation / 1e9,
            "GB",
            peer="reserved",
            peer_value=reserved / 1e9,
            **facts,
        ),
    ]
    for row in rows:
        print(f"{row['name']}: {row['value']:.3f} GB; a step reserves {reserved / 1e9:.3f} GB")
    write_rows(args.json, rows)


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    sys.exit(main())
