"""The sides of `nets.py`: what is measured of a net in each library, each in its own process."""

import os
import time
from collections.abc import Callable

import checkout  # noqa: F401
import numpy as np
from timing import images_per_second, step_seconds

CHANNELS = 4
LABELS = 28
LEARNING_RATE = 1e-4
KERAS_NAMES = {
    "densenet121": "DenseNet121",
    "densenet169": "DenseNet169",
    "densenet201": "DenseNet201",
    "inception_resnet_v2": "InceptionResNetV2",
    "resnet50": "ResNet50",
}
CONVNEXTS = ("convnext_tiny", "convnext_small")
# Of All-CNN's convolutions of 3x3 with padding: input channels, output channels, stride.
ALL_CNN_LAYERS = (
    (CHANNELS, 96, 1),
    (96, 96, 1),
    (96, 96, 2),
    (96, 192, 1),
    (192, 192, 1),
    (192, 192, 2),
)


def random_batch(size: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 `[batch, size, size, CHANNELS]` and targets float32 `[batch, LABELS]`."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch, size, size, CHANNELS)).astype(np.float32)
    targets = (rng.random((batch, LABELS)) < 0.1).astype(np.float32)
    return images, targets


def speed(step: Callable[[], object], batch: int, seconds: float) -> float:
    """Images a second of `step()`, which waits for its result; the first call is not counted."""
    step()
    return images_per_second(step_seconds(step, seconds, least=3), batch)


def make_model(net: str, dtype: str):
    """Ours, with the head of the peer's net."""
    from hpa_jax.models import create_model

    head = "linear"
    if net == "all_cnn":
        head = "all_cnn"
    elif net in CONVNEXTS:
        head = "norm_linear"
    return create_model(net, head=head, num_labels=LABELS, dtype=dtype)


def training_loss(model, batch_stats, images, targets) -> Callable:
    """Parameters to the mean binary cross entropy and the next batch statistics."""
    import jax
    import jax.numpy as jnp
    import optax

    def loss(params):
        logits, updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        losses = optax.sigmoid_binary_cross_entropy(logits, targets)
        return jnp.mean(losses), updates["batch_stats"]

    return loss


def abstract_arguments(model, wide: int, batch: int) -> tuple:
    """Shapes of a model's variables, and of a batch of images `wide` px a side."""
    import jax
    import jax.numpy as jnp

    def init(key, images):
        return model.init(key, images, train=False)

    images = jax.ShapeDtypeStruct((batch, wide, wide, CHANNELS), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(init, key, images), images


def kept_bytes(net: str, wide: int, batch: int) -> int:
    """What a training step in bfloat16 keeps for its backward pass, weights included."""
    import jax
    import jax.numpy as jnp

    model = make_model(net, "bfloat16")
    variables, images = abstract_arguments(model, wide, batch)
    targets = jax.ShapeDtypeStruct((batch, LABELS), jnp.float32)

    def backward(params, batch_stats, images, targets):
        loss = training_loss(model, batch_stats, images, targets)
        # Of loss, backward function and statistics, the function holds all that was kept.
        return jax.vjp(loss, params, has_aux=True)[1]

    batch_stats = variables.get("batch_stats", {})
    kept = jax.eval_shape(backward, variables["params"], batch_stats, images, targets)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def sizes(net: str, wide: int) -> dict:
    """Of one image `wide` px a side.

    Returns:
      `parameters`, `flop` of a forward pass, and `kept_bytes` of a training step.
    """
    import jax

    def forward(variables, images):
        return model.apply(variables, images, train=False)

    model = make_model(net, "float32")
    variables, images = abstract_arguments(model, wide, 1)
    lowered = jax.jit(forward).lower(variables, images)
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        "flop": lowered.cost_analysis()["flops"],
        # What does not grow with the batch is weights and statistics.
        "kept_bytes": kept_bytes(net, wide, 2) - kept_bytes(net, wide, 1),
    }


def ours(net: str, size: int, batch: int, seconds: float, wide: int) -> dict:
    """Sizes, speeds and the seconds of compiling of hpa_jax."""
    import jax
    import optax

    from hpa_jax.models import init_variables

    model = make_model(net, "float32")
    images, targets = random_batch(size, batch)
    variables = jax.device_put(init_variables(model, images.shape[1:], seed=0))
    forward = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    found = sizes(net, wide)
    found["inference"] = speed(
        lambda: forward(variables, images).block_until_ready(), batch, seconds
    )

    optimizer = optax.adam(LEARNING_RATE)

    def train_step(state, images, targets):
        params, batch_stats, opt_state = state
        loss = training_loss(model, batch_stats, images, targets)
        (_, batch_stats), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), batch_stats, opt_state

    params = variables["params"]
    state = (params, variables["batch_stats"], jax.jit(optimizer.init)(params))
    start = time.perf_counter()
    jitted = jax.jit(train_step, donate_argnums=0)
    compiled = jitted.lower(state, images, targets).compile()
    found["compile_seconds"] = time.perf_counter() - start

    def train():
        nonlocal state
        state = jax.block_until_ready(compiled(state, images, targets))

    found["training"] = speed(train, batch, seconds)
    return found


def peer(net: str, size: int, batch: int, seconds: float, wide: int) -> dict:
    """Parameters and speeds of the peer's library."""
    if net == "all_cnn":
        return torch_peer(torch_all_cnn(), size, batch, seconds)
    if net in CONVNEXTS:
        return torch_peer(torch_convnext(net), size, batch, seconds)
    return keras_peer(net, size, batch, seconds)


def keras_peer(net: str, size: int, batch: int, seconds: float) -> dict:
    """keras.applications on TensorFlow."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf

    images, targets = random_batch(size, batch)
    make = getattr(keras.applications, KERAS_NAMES[net])
    model = make(
        weights=None, input_shape=images.shape[1:], classes=LABELS, classifier_activation=None
    )
    images = tf.constant(images)
    targets = tf.constant(targets)
    forward = tf.function(lambda images: model(images, training=False))
    inference = speed(lambda: forward(images).numpy(), batch, seconds)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    # Without XLA, whose code for CPUs is slower than oneDNN's.
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, jit_compile=False)
    training = speed(lambda: float(model.train_on_batch(images, targets)), batch, seconds)
    parameters = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    return {"parameters": parameters, "inference": inference, "training": training}


def torch_all_cnn():
    """All-CNN in PyTorch, channels last."""
    from torch import channels_last, nn

    layers = [nn.Dropout(0.2)]
    for before, after, stride in ALL_CNN_LAYERS:
        layers.append(nn.Conv2d(before, after, 3, stride=stride, padding=1))
        layers.append(nn.ReLU())
        if stride == 2:
            layers.append(nn.Dropout(0.5))
    layers += [nn.Conv2d(192, 192, 3), nn.ReLU()]
    layers += [nn.Conv2d(192, 192, 1), nn.ReLU()]
    layers += [nn.Conv2d(192, LABELS, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers).to(memory_format=channels_last)


def torch_convnext(net: str):
    """torchvision's ConvNeXt, channels last, without stochastic depth."""
    from torch import channels_last, nn

    model = getattr(import_torchvision().models, net)(num_classes=LABELS, stochastic_depth_prob=0.0)
    first = model.features[0][0]
    model.features[0][0] = nn.Conv2d(CHANNELS, first.out_channels, 4, stride=4)
    return model.to(memory_format=channels_last)


def import_torchvision():
    """The package; its compiled operators, which no net needs, are for PyTorch with CUDA alone."""
    import torch

    try:
        import torchvision
    except RuntimeError:
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", signature)
        import torchvision
    return torchvision


def torch_peer(model, size: int, batch: int, seconds: float) -> dict:
    """A net in PyTorch, eager."""
    import torch

    images, targets = random_batch(size, batch)
    images = torch.tensor(images.transpose(0, 3, 1, 2)).to(memory_format=torch.channels_last)
    targets = torch.tensor(targets)
    loss = torch.nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)

    def infer():
        with torch.inference_mode():
            model(images)

    def train():
        optimizer.zero_grad()
        loss(model(images), targets).backward()
        optimizer.step()

    model.eval()
    inference = speed(infer, batch, seconds)
    model.train()
    training = speed(train, batch, seconds)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "inference": inference, "training": training}
