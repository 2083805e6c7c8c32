"""Every net beside the same one in another library: size, arithmetic, memory, images a second. One run, this machine.

    python benchmarks/nets.py [--nets=all] [--size=128] [--batch=8] [--seconds=5] [--wide=512] [--json=FILE]

Four channels, 28 logits, float32, the head that the peer's net has (mean over the map, one dense layer). The peer is
keras.applications on TensorFlow (oneDNN, in a graph), and for All-CNN the same layers in PyTorch (eager, channels
last). Training is a step of Adam on binary cross entropy. Each side of each net runs in a process of its own, one after
the other, on all cores; a figure is the median over at least `--seconds` after one step that is not counted.

Unusual: GFLOP (a multiplication and an addition are two) and memory are of fields of `--wide` px and need no compiling.
The first is XLA's count of the forward pass as traced; the second the bytes that a training step in bfloat16 keeps for
its backward pass, as automatic differentiation leaves them. A compiled step needs less: XLA computes some of them anew.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
PEERS = {
    "all_cnn": "PyTorch",
    "densenet121": "DenseNet121",
    "densenet169": "DenseNet169",
    "densenet201": "DenseNet201",
    "inception_resnet_v2": "InceptionResNetV2",
    "resnet50": "ResNet50",
}
CHANNELS, LABELS = 4, 28


def batch_of(size: int, batch: int):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch, size, size, CHANNELS)).astype(np.float32)
    return images, (rng.random((batch, LABELS)) < 0.1).astype(np.float32)


def images_per_second(run, batch: int, seconds: float) -> float:
    """`run()` waits for its result."""
    run()
    taken = []
    while sum(taken) < seconds or len(taken) < 3:
        begun = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begun)
    return batch / statistics.median(taken)


def ours_model(net: str, dtype: str = "float32"):
    from hpa_jax.models import create_model

    return create_model(
        net, head="all_cnn" if net == "all_cnn" else "linear", num_labels=LABELS, dtype=dtype
    )


def training_loss(model, stats, images, targets):
    import jax
    import jax.numpy as jnp
    import optax

    def loss(params):
        logits, updates = model.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, targets)), updates["batch_stats"]

    return loss


def sizes(net: str, wide: int) -> dict:
    """Parameters, GFLOP of a forward pass, and bytes that a training step keeps, of one image `wide` px a side."""
    import jax
    import jax.numpy as jnp

    def abstract(model, batch):
        images = jax.ShapeDtypeStruct((batch, wide, wide, CHANNELS), jnp.float32)
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.eval_shape(lambda key, x: model.init(key, x, train=False), key, images), images

    def kept(batch):
        model = ours_model(net, "bfloat16")
        variables, images = abstract(model, batch)
        targets = jax.ShapeDtypeStruct((batch, LABELS), jnp.float32)

        def backward(params, stats, images, targets):
            return jax.vjp(training_loss(model, stats, images, targets), params, has_aux=True)[1]

        leaves = jax.tree.leaves(
            jax.eval_shape(
                backward, variables["params"], variables.get("batch_stats", {}), images, targets
            )
        )
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    model = ours_model(net)
    variables, images = abstract(model, 1)
    forward = jax.jit(lambda v, x: model.apply(v, x, train=False)).lower(variables, images)
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "flop": forward.cost_analysis()["flops"],
        "kept_bytes": kept(2)
        - kept(1),  # what does not grow with the batch is weights and statistics
    }


def ours(net: str, size: int, batch: int, seconds: float, wide: int) -> dict:
    import jax
    import optax

    from hpa_jax.models import init_variables

    model = ours_model(net)
    images, targets = batch_of(size, batch)
    variables = jax.device_put(init_variables(model, images.shape[1:], seed=0))
    infer = jax.jit(lambda v, x: model.apply(v, x, train=False))
    figures = {
        **sizes(net, wide),
        "inference": images_per_second(
            lambda: infer(variables, images).block_until_ready(), batch, seconds
        ),
    }
    optimizer = optax.adam(1e-4)

    def step(state, images, targets):
        params, stats, opt_state = state
        loss = training_loss(model, stats, images, targets)
        (_, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state

    state = (
        variables["params"],
        variables["batch_stats"],
        jax.jit(optimizer.init)(variables["params"]),
    )
    begun = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state, images, targets).compile()
    figures["compile_seconds"] = time.perf_counter() - begun

    def train():
        nonlocal state
        state = jax.block_until_ready(compiled(state, images, targets))

    return figures | {"training": images_per_second(train, batch, seconds)}


def keras_peer(net: str, size: int, batch: int, seconds: float) -> dict:
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import keras
    import tensorflow as tf

    images, targets = batch_of(size, batch)
    make = getattr(keras.applications, PEERS[net])
    model = make(
        weights=None, input_shape=images.shape[1:], classes=LABELS, classifier_activation=None
    )
    images, targets = tf.constant(images), tf.constant(targets)
    infer = tf.function(lambda x: model(x, training=False))
    inference = images_per_second(lambda: infer(images).numpy(), batch, seconds)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(1e-4), loss, jit_compile=False
    )  # XLA's CPU code is slower than oneDNN's
    training = images_per_second(
        lambda: float(model.train_on_batch(images, targets)), batch, seconds
    )
    parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    return {"parameters": parameters, "inference": inference, "training": training}


def torch_peer(size: int, batch: int, seconds: float) -> dict:
    import torch

    widths = (
        (CHANNELS, 96, 1),
        (96, 96, 1),
        (96, 96, 2),
        (96, 192, 1),
        (192, 192, 1),
        (192, 192, 2),
    )
    parts = [torch.nn.Dropout(0.2)]
    for before, after, stride in widths:
        parts += [torch.nn.Conv2d(before, after, 3, stride=stride, padding=1), torch.nn.ReLU()]
        parts += [torch.nn.Dropout(0.5)] if stride == 2 else []
    parts += [
        torch.nn.Conv2d(192, 192, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(192, 192, 1),
        torch.nn.ReLU(),
    ]
    parts += [torch.nn.Conv2d(192, LABELS, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    model = torch.nn.Sequential(*parts).to(memory_format=torch.channels_last)
    images, targets = batch_of(size, batch)
    images = torch.tensor(images.transpose(0, 3, 1, 2)).to(memory_format=torch.channels_last)
    targets, loss = torch.tensor(targets), torch.nn.BCEWithLogitsLoss()

    def infer():
        with torch.inference_mode():
            model(images)

    def train():
        optimizer.zero_grad()
        loss(model(images), targets).backward()
        optimizer.step()

    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    model.eval()
    figures = {"parameters": sum(p.numel() for p in model.parameters())}
    figures["inference"] = images_per_second(infer, batch, seconds)
    model.train()
    return figures | {"training": images_per_second(train, batch, seconds)}


def measure(side: str, net: str, size: int, batch: int, seconds: float, wide: int) -> dict:
    if side == "ours":
        return ours(net, size, batch, seconds, wide)
    return (
        torch_peer(size, batch, seconds)
        if net == "all_cnn"
        else keras_peer(net, size, batch, seconds)
    )


def rows_of(net: str, own: dict, peer: dict, args) -> list[dict]:
    library = "PyTorch" if net == "all_cnn" else "keras.applications on TensorFlow"
    device = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    at = f"{args.size}px_batch_{args.batch}"
    table = (
        (f"net_{net}_parameters", own["parameters"], "1", peer["parameters"]),
        (f"net_{net}_gflop_{args.wide}px", own["flop"] / 1e9, "GFLOP", None),
        (f"net_{net}_kept_{args.wide}px", own["kept_bytes"] / 1e6, "MB/image", None),
        (f"net_{net}_inference_{at}", own["inference"], "images/s", peer["inference"]),
        (f"net_{net}_training_{at}", own["training"], "images/s", peer["training"]),
        (f"net_{net}_compile_{at}", own["compile_seconds"], "s", None),
    )
    return [
        {"name": name, "value": value, "unit": unit, "device": device}
        | (
            {"peer": library, "peer_value": other, "ratio_to_peer": value / other}
            if other is not None
            else {}
        )
        for name, value, unit, other in table
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", default="all", help=f"separated by commas, of {', '.join(PEERS)}")
    parser.add_argument(
        "--size", type=int, default=128, help="px a side of the images that are timed"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="that each figure is measured for, at the least"
    )
    parser.add_argument("--wide", type=int, default=512, help="px a side for GFLOP and memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(
            json.dumps(
                measure(*args.one.split(":"), args.size, args.batch, args.seconds, args.wide)
            )
        )
        return
    nets = list(PEERS) if args.nets == "all" else args.nets.split(",")
    if unknown := [net for net in nets if net not in PEERS]:
        parser.error(f"--nets: {unknown[0]!r} is unknown; choose of {', '.join(PEERS)}")
    flags = [f"--{name}={getattr(args, name)}" for name in ("size", "batch", "seconds", "wide")]
    rows = []
    print(
        f"{CHANNELS} channels; images/s at {args.size} px, batch {args.batch}, float32: ours, peer's, ratio"
    )
    heads = (
        ("parameters", 10),
        ("GFLOP", 7),
        ("MB kept", 7),
        ("inference", 23),
        ("training", 23),
        ("compile s", 9),
    )
    print(" ".join([f"{'net':<20}", *(f"{name:>{width}}" for name, width in heads)]))
    for done, net in enumerate(nets):
        found = {}
        for side in ("ours", "peer"):
            print(
                f"[{2 * done + len(found) + 1}/{2 * len(nets)}] {net}, {side} ...",
                file=sys.stderr,
                flush=True,
            )
            command = [sys.executable, __file__, f"--one={side}:{net}", *flags]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[side] = json.loads(out.splitlines()[-1])
        own, peer = found["ours"], found["peer"]
        speeds = " ".join(
            f"{own[key]:>8.2f} {peer[key]:>8.2f} {own[key] / peer[key]:>5.2f}"
            for key in ("inference", "training")
        )
        print(
            f"{net:<20} {own['parameters']:>10,} {own['flop'] / 1e9:>7.1f} {own['kept_bytes'] / 1e6:>7.0f} {speeds} "
            f"{own['compile_seconds']:>9.0f}",
            flush=True,
        )
        rows += rows_of(net, own, peer, args)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
