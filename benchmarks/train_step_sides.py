"""The two sides of `train_step.py`, each a process that waits for orders and measures when it is told to.

    python benchmarks/train_step_sides.py jax|torch

An order is a line of JSON on standard input, an answer one on standard output. `{"prepare": WORKLOAD}` builds, compiles
and warms up; `{"measure": {"what": ..., "seconds": ...}}` gives the seconds of each step in that time; `{"device": 1}`
says what there is. Both sides do the same work: uint8 images that lie on the device, normalised there, forward,
backward and Adam on binary cross entropy; or forward and sigmoid.
"""

import contextlib
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
CHANNELS, LABELS, RATE = 4, 28, 1e-4
MEAN, STD = 0.1, 0.2
KINDS = ("train", "inference", "exported")
SHARE_OF_GPU = 0.45
"""Of the memory of a GPU, for each side: both stay on it, so that their rounds can take turns."""


def batch_of(side: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, side, side, CHANNELS), np.uint8)
    return images, (rng.random((batch, LABELS)) < 0.1).astype(np.uint8)


def cpu_name() -> str:
    """As Linux knows it, or what Python does."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return (
            next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
        )
    return platform.processor() or platform.machine()


class Jax:
    """hpa_jax: the step that training compiles, the forward pass, and that of an export, written out and read back."""

    def __init__(self):
        import jax

        from hpa_jax.parallel.compile import MOST_CPU_DEVICES, use_cpu_cores

        use_cpu_cores(
            MOST_CPU_DEVICES
        )  # as main does; how many of them a batch takes, each workload says
        self._jax = jax
        self._platform = jax.default_backend()
        self._gpu = self._platform == "gpu"

    def device(self) -> dict:
        device = self._jax.devices()[0]
        name = device.device_kind if self._gpu else f"{cpu_name()}, {os.cpu_count()} cores"
        return {"gpu": self._gpu, "name": name, "version": f"jax {self._jax.__version__}"}

    def prepare(
        self, net: str, side: int, batch: int, dtype: str, kinds: tuple[str, ...], block: str
    ) -> dict:
        import jax
        import optax

        from hpa_jax.models import create_model, init_variables
        from hpa_jax.optim.losses import make_loss
        from hpa_jax.optim.optimizer import make_optimizer
        from hpa_jax.parallel.compile import compile_for, devices_for
        from hpa_jax.parallel.mesh import batch_sharding, make_mesh, replicated
        from hpa_jax.training.state import new_state
        from hpa_jax.training.steps import make_score_step, make_train_step
        from hpa_jax.transforms.channel_mix import parse_channel_mix

        self._runs = {}
        preparation = {
            "channel_mix": parse_channel_mix("rgby"),
            "mean": (MEAN,) * CHANNELS,
            "std": (STD,) * CHANNELS,
        }
        build = lambda **options: create_model(
            net, head="linear", num_labels=LABELS, dropout=0.0, **options
        )  # noqa: E731
        mesh = make_mesh(
            jax.devices()[: 1 if self._gpu else devices_for(jax.device_count(), batch)]
        )
        images, targets = jax.device_put(batch_of(side, batch), batch_sharding(mesh))
        variables = init_variables(build(dtype="float32"), (side, side, CHANNELS), seed=0)
        size = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        begun = time.perf_counter()
        if "train" in kinds:
            optimizer = make_optimizer(
                "adam", optax.constant_schedule(RATE), b1=0.9, b2=0.999, eps=1e-8
            )
            model, loss = build(dtype=dtype, block=block), make_loss("bce")
            step = make_train_step(
                model,
                optimizer,
                loss,
                seed=0,
                augmentation={"flips": False},
                preparation=preparation,
            )
            state = jax.device_put(new_state(variables, optimizer), replicated(mesh))
            given = {"image": images, "targets": targets}
            step = jax.jit(
                step, donate_argnums=0, out_shardings=(replicated(mesh), replicated(mesh))
            )
            step = compile_for(self._platform, step, state, given)
            held = [state]

            def train(times: int) -> None:
                for _ in range(times):
                    held[0], figures = step(held[0], given)
                jax.block_until_ready((held, figures))

            self._runs["train"] = train
        variables = jax.device_put(variables, replicated(mesh))
        if "inference" in kinds:
            score = make_score_step(build(dtype=dtype), preparation=preparation)
            infer = jax.jit(
                lambda v, x: jax.nn.sigmoid(score(v, x)), out_shardings=batch_sharding(mesh)
            )
            self._runs["inference"] = self._forward(infer, variables, images)
        if "exported" in kinds:
            score = make_score_step(
                build(dtype="float32"), preparation=preparation
            )  # an export computes in float32 (export.py)
            served = jax.device_put(
                (variables, images), jax.devices()[0]
            )  # an artefact is of one device
            (rows,) = jax.export.symbolic_shape("b")
            abstract = jax.ShapeDtypeStruct((rows, *images.shape[1:]), images.dtype)
            whole = jax.export.export(
                jax.jit(lambda v, x: jax.nn.sigmoid(score(v, x))), platforms=("cpu", "cuda", "tpu")
            )(served[0], abstract)
            exported = jax.jit(jax.export.deserialize(whole.serialize()).call)
            self._runs["exported"] = self._forward(exported, *served)
        for run in self._runs.values():
            run(1)
        return {"seconds": time.perf_counter() - begun, "parameters": size}

    def _forward(self, function, variables, images):
        program = function.lower(variables, images).compile()

        def infer(times: int) -> None:
            for _ in range(times):
                scores = program(variables, images)
            scores.block_until_ready()

        return infer

    def run(self, kind: str, times: int) -> None:
        self._runs[kind](times)


class Torch:
    """The same in PyTorch, channels last: eager on a CPU; compiled, and in bfloat16 under autocast, on a GPU."""

    def __init__(self):
        import torch

        self._torch = torch
        self._gpu = torch.cuda.is_available() and os.environ.get("JAX_PLATFORMS") != "cpu"
        if self._gpu:
            torch.cuda.set_per_process_memory_fraction(SHARE_OF_GPU)
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision(
                "high"
            )  # TensorFloat-32, which JAX uses where it is not told otherwise

    def device(self) -> dict:
        name = (
            self._torch.cuda.get_device_name()
            if self._gpu
            else f"{cpu_name()}, {os.cpu_count()} cores"
        )
        return {"gpu": self._gpu, "name": name, "version": f"torch {self._torch.__version__}"}

    def prepare(
        self, net: str, side: int, batch: int, dtype: str, kinds: tuple[str, ...], block: str
    ) -> dict:
        import torch
        from torch_densenet import DenseNet

        from hpa_jax.models import BACKBONES

        begun = time.perf_counter()
        device = "cuda" if self._gpu else "cpu"
        parts = {"growth": 32, "stem": 64} | BACKBONES[net].keywords
        self._model = DenseNet(**parts, labels=LABELS, mean=MEAN, std=STD).to(
            device, memory_format=torch.channels_last
        )
        images, targets = (torch.from_numpy(a).to(device) for a in batch_of(side, batch))
        targets = targets.float()
        model = torch.compile(self._model, dynamic=False) if self._gpu else self._model
        optimizer = torch.optim.Adam(self._model.parameters(), RATE, fused=self._gpu or None)
        loss = torch.nn.BCEWithLogitsLoss()

        def autocast(narrow: bool):
            return torch.autocast(device, torch.bfloat16) if narrow else contextlib.nullcontext()

        def train(times: int) -> None:
            self._model.train()
            for _ in range(times):
                optimizer.zero_grad(set_to_none=True)
                with autocast(dtype == "bfloat16"):
                    value = loss(model(images), targets)
                value.backward()
                optimizer.step()
            self._wait()

        def infer(times: int, narrow: bool) -> None:
            self._model.eval()
            with torch.inference_mode(), autocast(narrow):
                for _ in range(times):
                    torch.sigmoid(model(images))
            self._wait()

        runs = {
            "train": train,
            "inference": lambda times: infer(times, dtype == "bfloat16"),
            "exported": lambda times: infer(times, False),
        }
        self._runs = {kind: runs[kind] for kind in kinds}
        for run in self._runs.values():
            run(2)
        size = sum(p.numel() for p in self._model.parameters())
        return {"seconds": time.perf_counter() - begun, "parameters": size}

    def _wait(self) -> None:
        if self._gpu:
            self._torch.cuda.synchronize()

    def run(self, kind: str, times: int) -> None:
        self._runs[kind](times)


def measured(side: Jax | Torch, what: str, seconds: float) -> list[float]:
    """Seconds of each step, in blocks that the host waits for: of one step where steps are long, of more where not."""
    begun = time.perf_counter()
    side.run(what, 1)
    one = time.perf_counter() - begun
    times = max(1, min(20, int(seconds / 4 / one)))
    taken = []
    while sum(taken) * times < seconds or len(taken) < 2:
        begun = time.perf_counter()
        side.run(what, times)
        taken.append((time.perf_counter() - begun) / times)
    return taken


def out_of_memory(error: BaseException) -> bool:
    return any(words in str(error).lower() for words in ("out of memory", "resource_exhausted"))


def answer(side: Jax | Torch, order: dict) -> dict:
    if "device" in order:
        return side.device()
    if "measure" in order:
        return {"steps": measured(side, **order["measure"])}
    try:
        return side.prepare(**order["prepare"])
    except Exception as error:
        if not out_of_memory(error):
            raise
        return {"out_of_memory": True}


def main() -> None:
    orders, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    side = {"jax": Jax, "torch": Torch}[sys.argv[1]]()
    for line in orders:
        print(json.dumps(answer(side, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
