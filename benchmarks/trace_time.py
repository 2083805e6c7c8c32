"""Linen or NNX: how long does DenseNet-121 take to become a traced, lowered training step?

    python benchmarks/trace_time.py [--size=224] [--repeats=3] [--json=FILE]

Both nets have the same layers and shapes; the NNX one is split once into plain state, as its own documentation advises,
so what is timed is tracing and lowering alone. The peer is NNX. Figures: medians of `--repeats` in one process each.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

DEPTHS, GROWTH = (6, 12, 24, 16), 32


def linen_step():
    import jax
    import jax.numpy as jnp

    from hpa_jax.models import create_model

    model = create_model("densenet121", head="linear", num_labels=28, dropout=0.0, dtype="float32")

    def build(size):
        image = jax.ShapeDtypeStruct((8, size, size, 4), jnp.float32)
        key = jax.eval_shape(lambda: jax.random.key(0))
        variables = jax.eval_shape(
            lambda key, image: model.init(key, image, train=False), key, image
        )

        def loss(params, stats, images):
            rest = {"batch_stats": stats}
            logits, new = model.apply(
                {"params": params, **rest}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(logits**2), new

        return jax.value_and_grad(loss, has_aux=True), (
            variables["params"],
            variables["batch_stats"],
            image,
        )

    return build


def nnx_step():
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
            new = self.conv2(nnx.relu(self.norm2(self.conv1(nnx.relu(self.norm1(x))))))
            return jnp.concatenate([x, new], -1)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.stem = nnx.Conv(4, 64, (7, 7), strides=2, padding=3, use_bias=False, rngs=rngs)
            self.stem_norm = nnx.BatchNorm(64, rngs=rngs)
            blocks, transitions, width = [], [], 64
            for number, depth in enumerate(DEPTHS):
                blocks.append(nnx.List([Layer(width + i * GROWTH, rngs) for i in range(depth)]))
                width += depth * GROWTH
                if number < len(DEPTHS) - 1:
                    half = nnx.Linear(width, width // 2, use_bias=False, rngs=rngs)
                    transitions.append(nnx.List([nnx.BatchNorm(width, rngs=rngs), half]))
                    width //= 2
            self.blocks, self.transitions = nnx.List(blocks), nnx.List(transitions)
            self.final_norm = nnx.BatchNorm(width, rngs=rngs)
            self.logits = nnx.Linear(width, 28, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.stem_norm(self.stem(x)))
            x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
            for number, block in enumerate(self.blocks):
                for layer in block:
                    x = layer(x)
                if number < len(self.transitions):
                    norm, half = self.transitions[number]
                    x = nnx.avg_pool(half(nnx.relu(norm(x))), (2, 2), strides=(2, 2))
            return self.logits(jnp.mean(nnx.relu(self.final_norm(x)), (1, 2)))

    def build(size):
        graph, params, rest = nnx.split(nnx.eval_shape(lambda: Net(nnx.Rngs(0))), nnx.Param, ...)
        params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
        image = jax.ShapeDtypeStruct((8, size, size, 4), jnp.float32)

        def loss(params, rest, images):
            net = nnx.merge(graph, params, rest)
            return jnp.mean(net(images) ** 2), nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))

        return jax.value_and_grad(loss, has_aux=True), (params, rest, image)

    return build


def measure(api, size):
    """Seconds to build abstract variables, and to trace and lower the training step, in this process."""
    import jax

    make = {"linen": linen_step, "nnx": nnx_step}[api]()
    begun = time.perf_counter()
    step, arguments = make(size)
    built = time.perf_counter()
    jax.jit(step).lower(*arguments)
    return {"build": built - begun, "trace_and_lower": time.perf_counter() - built}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=224, help="px a side")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    parser.add_argument("--one", choices=("linen", "nnx"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.size)))
        return
    runs = {"linen": [], "nnx": []}
    for _ in range(arguments.repeats):
        for api, results in runs.items():
            command = [sys.executable, __file__, f"--one={api}", f"--size={arguments.size}"]
            results.append(
                json.loads(
                    subprocess.run(command, check=True, capture_output=True, text=True).stdout
                )
            )
    rows = []
    print(f"DenseNet-121, {arguments.size} px, seconds (median of {arguments.repeats})")
    for phase in ("build", "trace_and_lower"):
        ours, peer = (statistics.median(r[phase] for r in runs[api]) for api in ("linen", "nnx"))
        print(f"  {phase:<16} Linen {ours:6.2f}   NNX {peer:6.2f}   Linen / NNX {ours / peer:.2f}")
        row = {
            "name": f"trace_time_{phase}",
            "value": ours,
            "unit": "s",
            "peer": "NNX",
            "peer_value": peer,
        }
        rows.append(row | {"ratio_to_peer": ours / peer, "device": "cpu"})
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
