"""hpa_jax's side of `train_step.py`: what training compiles, the forward pass, and an export."""

import time
from collections.abc import Callable

import checkout  # noqa: F401
import jax
import optax
from results import cpu_name, with_cores
from train_step_work import CHANNELS, LABELS, LEARNING_RATE, MEAN, STD, random_batch

from hpa_jax.models import Classifier, create_model, init_variables
from hpa_jax.optim.losses import make_loss
from hpa_jax.optim.optimizer import make_optimizer
from hpa_jax.parallel.compile import MOST_CPU_DEVICES, compile_for, devices_for, use_cpu_cores
from hpa_jax.parallel.mesh import batch_sharding, make_mesh, replicated
from hpa_jax.training.state import new_state
from hpa_jax.training.steps import make_score_step, make_train_step
from hpa_jax.transforms.channel_mix import parse_channel_mix

PREPARATION = {
    "channel_mix": parse_channel_mix("rgby"),
    "mean": (MEAN,) * CHANNELS,
    "std": (STD,) * CHANNELS,
}
EXPORT_PLATFORMS = ("cpu", "cuda", "tpu")

Steps = Callable[[int], None]


def make_model(net: str, dtype: str, block: str = "plain") -> Classifier:
    return create_model(
        net, head="linear", num_labels=LABELS, dropout=0.0, dtype=dtype, block=block
    )


def make_probabilities(net: str, dtype: str) -> Callable:
    """Variables and uint8 images to probabilities."""
    score = make_score_step(make_model(net, dtype), preparation=PREPARATION)

    def probabilities(variables, images):
        return jax.nn.sigmoid(score(variables, images))

    return probabilities


class JaxSide:
    """See `train_step_work.Side`."""

    def __init__(self):
        # As main does; how many of them a batch takes, each workload says.
        use_cpu_cores(MOST_CPU_DEVICES)
        self._platform = jax.default_backend()
        self._gpu = self._platform == "gpu"
        self._steps: dict[str, Steps] = {}

    def device(self) -> dict:
        if self._gpu:
            name = jax.devices()[0].device_kind
        else:
            name = with_cores(cpu_name())
        return {"gpu": self._gpu, "name": name, "version": f"jax {jax.__version__}"}

    def prepare(
        self, net: str, side: int, batch: int, dtype: str, kinds: list[str], block: str
    ) -> dict:
        # What was prepared before is let go first: on a GPU both may not fit.
        self._steps = {}
        devices = 1
        if not self._gpu:
            devices = devices_for(jax.device_count(), batch)
        mesh = make_mesh(jax.devices()[:devices])
        images, targets = jax.device_put(random_batch(side, batch), batch_sharding(mesh))
        variables = init_variables(make_model(net, "float32"), (side, side, CHANNELS), seed=0)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        start = time.perf_counter()
        if "train" in kinds:
            model = make_model(net, dtype, block)
            self._steps["train"] = self._train(model, variables, images, targets, mesh)
        variables = jax.device_put(variables, replicated(mesh))
        if "inference" in kinds:
            forward = jax.jit(make_probabilities(net, dtype), out_shardings=batch_sharding(mesh))
            self._steps["inference"] = _infer(forward, variables, images)
        if "exported" in kinds:
            self._steps["exported"] = _infer_exported(net, variables, images)
        for steps in self._steps.values():
            steps(1)
        return {"seconds": time.perf_counter() - start, "parameters": parameters}

    def _train(self, model: Classifier, variables: dict, images, targets, mesh) -> Steps:
        learning_rate = optax.constant_schedule(LEARNING_RATE)
        optimizer = make_optimizer("adam", learning_rate, b1=0.9, b2=0.999, eps=1e-8)
        step = make_train_step(
            model,
            optimizer,
            make_loss("bce"),
            seed=0,
            augmentation={"flips": False},
            preparation=PREPARATION,
        )
        sharding = replicated(mesh)
        step = jax.jit(step, donate_argnums=0, out_shardings=(sharding, sharding))
        state = jax.device_put(new_state(variables, optimizer), sharding)
        batch = {"image": images, "targets": targets}
        compiled = compile_for(self._platform, step, state, batch)

        def train(times: int) -> None:
            nonlocal state
            for _ in range(times):
                state, metrics = compiled(state, batch)
            jax.block_until_ready((state, metrics))

        return train

    def run(self, kind: str, times: int) -> None:
        self._steps[kind](times)


def _infer_exported(net: str, variables: dict, images: jax.Array) -> Steps:
    """Inference by an artifact that was written out and read back."""
    # An export computes in float32, and is for one device.
    forward = jax.jit(make_probabilities(net, "float32"))
    device = jax.devices()[0]
    variables = jax.device_put(variables, device)
    images = jax.device_put(images, device)
    (batch,) = jax.export.symbolic_shape("b")
    abstract_images = jax.ShapeDtypeStruct((batch, *images.shape[1:]), images.dtype)
    exported = jax.export.export(forward, platforms=EXPORT_PLATFORMS)(variables, abstract_images)
    read_back = jax.export.deserialize(exported.serialize())
    return _infer(jax.jit(read_back.call), variables, images)


def _infer(forward: Callable, variables: dict, images: jax.Array) -> Steps:
    compiled = forward.lower(variables, images).compile()

    def infer(times: int) -> None:
        for _ in range(times):
            probabilities = compiled(variables, images)
        probabilities.block_until_ready()

    return infer
