"""PyTorch's side of `train_step.py`, channels last: eager on a CPU, compiled on a GPU."""

import contextlib
import os
import time

import checkout  # noqa: F401
import torch
from results import cpu_name, with_cores
from torch_densenet import DenseNet
from train_step_work import GPU_MEMORY_FRACTION, LABELS, LEARNING_RATE, MEAN, STD, random_batch

from hpa_jax.models import BACKBONES


class TorchSide:
    """See `train_step_work.Side`; where bfloat16 is asked for, it computes under autocast."""

    def __init__(self):
        self._gpu = torch.cuda.is_available() and os.environ.get("JAX_PLATFORMS") != "cpu"
        self._device = "cuda" if self._gpu else "cpu"
        if self._gpu:
            torch.cuda.set_per_process_memory_fraction(GPU_MEMORY_FRACTION)
            torch.backends.cudnn.benchmark = True
            # TensorFloat-32, which JAX uses by default.
            torch.set_float32_matmul_precision("high")
        self._runs = {}

    def device(self) -> dict:
        name = torch.cuda.get_device_name() if self._gpu else with_cores(cpu_name())
        return {"gpu": self._gpu, "name": name, "version": f"torch {torch.__version__}"}

    def prepare(
        self, net: str, side: int, batch: int, dtype: str, kinds: list[str], block: str
    ) -> dict:
        # What was prepared before is let go first: on a GPU both may not fit.
        self._runs = {}
        start = time.perf_counter()
        narrow = dtype == "bfloat16"
        parameters = {"growth": 32, "stem": 64} | BACKBONES[net].keywords
        plain = DenseNet(**parameters, labels=LABELS, mean=MEAN, std=STD)
        plain = plain.to(self._device, memory_format=torch.channels_last)
        model = plain
        if self._gpu:
            model = torch.compile(plain, dynamic=False)
        images, targets = (
            torch.from_numpy(array).to(self._device) for array in random_batch(side, batch)
        )
        targets = targets.float()
        optimizer = torch.optim.Adam(plain.parameters(), LEARNING_RATE, fused=self._gpu or None)
        loss = torch.nn.BCEWithLogitsLoss()

        def train(times: int) -> None:
            plain.train()
            for _ in range(times):
                optimizer.zero_grad(set_to_none=True)
                with self._autocast(narrow):
                    value = loss(model(images), targets)
                value.backward()
                optimizer.step()
            self._wait()

        def infer(times: int, narrow: bool) -> None:
            plain.eval()
            with torch.inference_mode(), self._autocast(narrow):
                for _ in range(times):
                    torch.sigmoid(model(images))
            self._wait()

        runs = {
            "train": train,
            "inference": lambda times: infer(times, narrow),
            "exported": lambda times: infer(times, False),
        }
        self._runs = {kind: runs[kind] for kind in kinds}
        for run in self._runs.values():
            run(2)
        size = sum(parameter.numel() for parameter in plain.parameters())
        return {"seconds": time.perf_counter() - start, "parameters": size}

    def _autocast(self, narrow: bool):
        if narrow:
            return torch.autocast(self._device, torch.bfloat16)
        return contextlib.nullcontext()

    def _wait(self) -> None:
        if self._gpu:
            torch.cuda.synchronize()

    def run(self, kind: str, times: int) -> None:
        self._runs[kind](times)
