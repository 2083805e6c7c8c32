"""Every net beside the same one in another library: size, arithmetic, memory, images a second.

    python benchmarks/nets.py [--nets=all] [--size=128] [--batch=8] [--seconds=5] [--json=FILE]

Four channels, 28 logits, float32, the head that the peer's net has (mean over the map, one dense
layer; before it a layer norm for ConvNeXts). The peer is keras.applications on TensorFlow (oneDNN,
in a graph), for ConvNeXts torchvision's module and for All-CNN the same layers, both in PyTorch
(eager, channels last). Training is a step of Adam on binary cross entropy. Each
side of each net runs in a process of its own, one after the other, on all cores; a speed is the
median over at least `--seconds`, after one step that is not counted.

Notes: GFLOP (a multiplication and an addition are two) and memory are of images of `--wide` px and
need no compiling. The first is XLA's count of the forward pass as traced; the second the bytes that
a training step in bfloat16 keeps for its backward pass, as automatic differentiation leaves them. A
compiled step needs less: XLA computes some of them anew.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from command_line import make_parser
from nets_sides import CHANNELS, CONVNEXTS, KERAS_NAMES, ours, peer
from processes import call_again
from results import machine_name, make_row, with_cores, write_rows

from hpa_jax.environment.program import run_program

NETS = ("all_cnn", *CONVNEXTS, *KERAS_NAMES)
SIDES = {"ours": ours, "peer": peer}
COLUMNS = {
    "parameters": 10,
    "GFLOP": 7,
    "MB kept": 7,
    "inference": 23,
    "training": 23,
    "compile s": 9,
}


def make_rows(net: str, own: dict, other: dict, args: argparse.Namespace) -> list[dict]:
    """All rows of a net, by what each side has measured."""
    library = "keras.applications on TensorFlow"
    if net == "all_cnn":
        library = "PyTorch"
    elif net in CONVNEXTS:
        library = "torchvision"
    device = with_cores(machine_name())
    workload = f"{args.size}px_batch_{args.batch}"
    entries = (
        ("parameters", own["parameters"], "1", other["parameters"]),
        (f"gflop_{args.wide}px", own["flop"] / 1e9, "GFLOP", None),
        (f"kept_{args.wide}px", own["kept_bytes"] / 1e6, "MB/image", None),
        (f"inference_{workload}", own["inference"], "images/s", other["inference"]),
        (f"training_{workload}", own["training"], "images/s", other["training"]),
        (f"compile_{workload}", own["compile_seconds"], "s", None),
    )
    rows = []
    for name, value, unit, peer_value in entries:
        row = make_row(
            f"net_{net}_{name}",
            value,
            unit,
            peer=None if peer_value is None else library,
            peer_value=peer_value,
            device=device,
        )
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--nets", default="all", help=f"separated by commas, of {', '.join(NETS)}")
    parser.add_argument(
        "--size", type=int, default=128, help="px a side of the images that are timed"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="that each speed is measured for, at the least"
    )
    parser.add_argument("--wide", type=int, default=512, help="px a side for GFLOP and memory")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        side, _, net = args.one.partition(":")
        print(json.dumps(SIDES[side](net, args.size, args.batch, args.seconds, args.wide)))
        return 0
    nets = NETS if args.nets == "all" else args.nets.split(",")
    for net in nets:
        if net not in NETS:
            parser.error(f"--nets: {net!r} is unknown; choose of {', '.join(NETS)}")
    compare(nets, args)
    return 0


def compare(nets: Sequence[str], args: argparse.Namespace) -> None:
    """Measures both sides of each net, prints a line each and writes the rows."""
    print(
        f"{CHANNELS} channels; images/s at {args.size} px, batch {args.batch}, float32: "
        "ours, peer's, ratio"
    )
    titles = " ".join(f"{name:>{width}}" for name, width in COLUMNS.items())
    print(f"{'net':<20} {titles}")
    flags = [
        f"--size={args.size}",
        f"--batch={args.batch}",
        f"--seconds={args.seconds}",
        f"--wide={args.wide}",
    ]
    total = len(SIDES) * len(nets)
    number = 0
    rows = []
    for net in nets:
        found = {}
        for side in SIDES:
            number += 1
            print(f"[{number}/{total}] {net}, {side} ...", file=sys.stderr, flush=True)
            found[side] = call_again(__file__, f"--one={side}:{net}", *flags)
        print(_table_line(net, found["ours"], found["peer"]), flush=True)
        rows += make_rows(net, found["ours"], found["peer"], args)
    write_rows(args.json, rows)


def _table_line(net: str, own: dict, other: dict) -> str:
    cells = [
        f"{net:<20}",
        f"{own['parameters']:>10,}",
        f"{own['flop'] / 1e9:>7.1f}",
        f"{own['kept_bytes'] / 1e6:>7.0f}",
    ]
    for kind in ("inference", "training"):
        ratio = own[kind] / other[kind]
        cells.append(f"{own[kind]:>8.2f} {other[kind]:>8.2f} {ratio:>5.2f}")
    cells.append(f"{own['compile_seconds']:>9.0f}")
    return " ".join(cells)


if __name__ == "__main__":
    run_program(main)
