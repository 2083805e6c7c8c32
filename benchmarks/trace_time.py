"""Linen or NNX: how long does DenseNet-121 take to become a traced, lowered training step?

    python benchmarks/trace_time.py [--size=224] [--repeats=3] [--json=FILE]

Both nets have the same layers and shapes; the NNX one is split once into plain state, as its own
documentation advises, so what is timed is tracing and lowering alone. The peer is NNX. Seconds are
the medians of `--repeats`, each in a process of its own.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

import checkout  # noqa: F401
from command_line import make_parser
from processes import call_again
from results import make_row, write_rows

from hpa_jax.environment.program import run_program

BATCH = 8
LABELS = 28
DEPTHS = (6, 12, 24, 16)
GROWTH = 32


def linen_step() -> Callable:
    """Returns a function of the image size to a training step and its abstract arguments."""
    import jax
    import jax.numpy as jnp

    from hpa_jax.models import create_model

    model = create_model(
        "densenet121", head="linear", num_labels=LABELS, dropout=0.0, dtype="float32"
    )

    def init(key, images):
        return model.init(key, images, train=False)

    def loss(params, batch_stats, images):
        variables = {"params": params, "batch_stats": batch_stats}
        logits, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return jnp.mean(logits**2), updates

    def build(size: int):
        images = jax.ShapeDtypeStruct((BATCH, size, size, 4), jnp.float32)
        key = jax.eval_shape(lambda: jax.random.key(0))
        variables = jax.eval_shape(init, key, images)
        arguments = (variables["params"], variables["batch_stats"], images)
        return jax.value_and_grad(loss, has_aux=True), arguments

    return build


def nnx_step() -> Callable:
    """The same as `linen_step`, of a net in NNX."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    class Layer(nnx.Module):
        def __init__(self, width, rngs):
            self.norm1 = nnx.BatchNorm(width, rngs=rngs)
            self.conv1 = nnx.Linear(width, 4 * GROWTH, use_bias=False, rngs=rngs)
            self.norm2 = nnx.BatchNorm(4 * GROWTH, rngs=rngs)
            self.conv2 = nnx.Conv(4 * GROWTH, GROWTH, (3, 3), padding=1, use_bias=False, rngs=rngs)

        def __call__(self, x):
            new = self.conv1(nnx.relu(self.norm1(x)))
            new = self.conv2(nnx.relu(self.norm2(new)))
            return jnp.concatenate([x, new], -1)

    class Transition(nnx.Module):
        def __init__(self, width, rngs):
            self.norm = nnx.BatchNorm(width, rngs=rngs)
            self.conv = nnx.Linear(width, width // 2, use_bias=False, rngs=rngs)

        def __call__(self, x):
            return nnx.avg_pool(self.conv(nnx.relu(self.norm(x))), (2, 2), strides=(2, 2))

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.stem = nnx.Conv(4, 64, (7, 7), strides=2, padding=3, use_bias=False, rngs=rngs)
            self.stem_norm = nnx.BatchNorm(64, rngs=rngs)
            layers = []
            width = 64
            for number, depth in enumerate(DEPTHS):
                for _ in range(depth):
                    layers.append(Layer(width, rngs))
                    width += GROWTH
                if number < len(DEPTHS) - 1:
                    layers.append(Transition(width, rngs))
                    width //= 2
            self.layers = nnx.List(layers)
            self.final_norm = nnx.BatchNorm(width, rngs=rngs)
            self.logits = nnx.Linear(width, LABELS, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.stem_norm(self.stem(x)))
            x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
            for layer in self.layers:
                x = layer(x)
            return self.logits(jnp.mean(nnx.relu(self.final_norm(x)), (1, 2)))

    def build(size: int):
        net = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        images = jax.ShapeDtypeStruct((BATCH, size, size, 4), jnp.float32)

        def loss(params, rest, images):
            net = nnx.merge(graph, params, rest)
            logits = net(images)
            updates = nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))
            return jnp.mean(logits**2), updates

        arguments = (nnx.to_pure_dict(params), nnx.to_pure_dict(rest), images)
        return jax.value_and_grad(loss, has_aux=True), arguments

    return build


APIS = {"linen": linen_step, "nnx": nnx_step}


def measure(api: str, size: int) -> dict:
    """Seconds to build abstract variables, and to trace and lower the step, in this process."""
    import jax

    build = APIS[api]()
    start = time.perf_counter()
    step, arguments = build(size)
    built = time.perf_counter()
    jax.jit(step).lower(*arguments)
    lowered = time.perf_counter()
    return {"build": built - start, "trace_and_lower": lowered - built}


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--size", type=int, default=224, help="px a side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=tuple(APIS), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(measure(args.one, args.size)))
        return 0
    compare(args)
    return 0


def compare(args: argparse.Namespace) -> None:
    """Measures both in turn, prints the table and writes the rows."""
    runs = {api: [] for api in APIS}
    for _ in range(args.repeats):
        for api, results in runs.items():
            results.append(call_again(__file__, f"--one={api}", f"--size={args.size}"))
    print(f"DenseNet-121, {args.size} px, seconds (median of {args.repeats})")
    rows = []
    for phase in ("build", "trace_and_lower"):
        linen = statistics.median(result[phase] for result in runs["linen"])
        nnx = statistics.median(result[phase] for result in runs["nnx"])
        ratio = linen / nnx
        print(f"  {phase:<16} Linen {linen:6.2f}   NNX {nnx:6.2f}   Linen / NNX {ratio:.2f}")
        row = make_row(f"trace_time_{phase}", linen, "s", peer="NNX", peer_value=nnx, device="cpu")
        rows.append(row)
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
