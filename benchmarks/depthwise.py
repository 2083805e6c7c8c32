"""CPU time of a depthwise convolution: XLA's own beside the sum over taps that takes its place.

    python benchmarks/depthwise.py [--rounds=5] [--json=FILE]

The maps are those of the four stages of a ConvNeXt-T, 8 images of 128 px, in float32; times are the
smallest CPU time of all threads over the rounds, and the peer is the convolution.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence

from command_line import make_parser, run
from results import cpu_name, make_row, write_rows

BATCH = 8
MAPS = ((32, 96), (16, 192), (8, 384), (4, 768))
"""Side in px, and channels."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints a line for each map; returns the exit status."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="calls of each form")
    flags = parser.parse_args(arguments)
    return run(lambda: write_rows(flags.json, measure_all(flags)))


def measure_all(flags: Namespace) -> list[dict]:
    """The rows of all maps."""
    rows = []
    for side, channels in MAPS:
        rows += measure(side, channels, flags.rounds)
    return rows


def measure(side: int, channels: int, rounds: int) -> list[dict]:
    """A row for the result, and one for the gradient of the kernel."""
    # Slow to import, and not needed for the help.
    import jax
    import numpy as np

    from hpa_jax.models import depthwise

    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, side, side, channels)).astype(np.float32)
    kernel = rng.normal(size=(7, 7, 1, channels)).astype(np.float32)
    forms = {
        "result": (depthwise.sum_of_taps, depthwise.convolution, (x, kernel)),
        "kernel_gradient": (
            depthwise.tap_kernel_gradient,
            depthwise.convolution_kernel_gradient,
            (x, x, kernel),
        ),
    }
    rows = []
    for name, (taps, convolution, given) in forms.items():
        own = milliseconds(jax.jit(taps), given, rounds)
        peer = milliseconds(jax.jit(convolution), given, rounds)
        print(
            f"{side} px, {channels} channels, {name}: CPU ms {own:.2f} as taps, "
            f"{peer:.2f} as a convolution",
            flush=True,
        )
        row = make_row(
            f"depthwise_{name}_{side}px_{channels}_channels",
            own,
            "ms",
            device=cpu_name(),
            peer="XLA's convolution",
            peer_value=peer,
        )
        rows.append(row)
    return rows


def milliseconds(function: Callable, given: tuple, rounds: int) -> float:
    """The smallest CPU time of a call that is compiled already."""
    import jax

    jax.block_until_ready(function(*given))
    times = []
    for _ in range(rounds):
        start = time.process_time()
        jax.block_until_ready(function(*given))
        times.append(time.process_time() - start)
    return 1000 * min(times)


if __name__ == "__main__":
    sys.exit(main())
