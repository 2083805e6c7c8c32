"""How fast a run is, and how much of its chips' peak arithmetic and memory traffic it uses.

Design:
- The arithmetic is what the net needs, not what a program does: three times the products of the
  plain forward pass (the gradient takes two for each), less the gradient of the images, which
  nobody asks for. What is recomputed to save memory does not count, nor do norms, augmentation and
  optimizer (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
- The memory traffic is the compiler's count for the compiled step (for kernels of this package,
  what they declare): the bytes that the program accesses, whether or not a cache has them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import jax

from hpa_jax.parallel.chips import Chip


class StepTimer:
    """Steps since the last log line, and the seconds that they took, without evaluations.

    Attributes:
      steps: to be counted by the loop.
    """

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Starts counting anew."""
        self.steps = 0
        self._start = time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """A context whose time does not count."""
        pause_start = time.monotonic()
        yield
        self._start += time.monotonic() - pause_start

    def seconds(self) -> float:
        """Seconds since the start, above 0."""
        # Divisors have to be above 0, whatever the clock's resolution.
        return max(time.monotonic() - self._start, 1e-9)


@dataclass(frozen=True)
class Utilization:
    """What a training step asks of the devices, to be compared with their peaks.

    Attributes:
      chip: whose peaks are compared with; None: not known, so there are no metrics.
      devices: that share each step.
      flops: FLOP of the training step of one image.
      step_bytes: bytes that each device moves between its memory and itself in a step; 0: not
        known.
    """

    chip: Chip | None
    devices: int
    flops: float
    step_bytes: float

    def metrics(self, images_per_sec: float, steps_per_sec: float) -> dict[str, float]:
        """Fractions of the peaks at a given speed.

        Returns:
          `mfu`, the fraction of the chips' bfloat16 peak; where `step_bytes` is known also
          `hbm_gb_per_sec` of each device and `hbm_fraction`, that of its peak.
        """
        if self.chip is None:
            return {}
        peak_flops = self.devices * self.chip.flops_bf16
        metrics = {"mfu": images_per_sec * self.flops / peak_flops}
        if self.step_bytes:
            bytes_per_sec = self.step_bytes * steps_per_sec
            metrics["hbm_gb_per_sec"] = bytes_per_sec / 1e9
            metrics["hbm_fraction"] = bytes_per_sec / self.chip.hbm_bytes_per_s
        return metrics


def bytes_accessed(program: jax.stages.Compiled) -> float:
    """Bytes that each device moves when it runs a program, by its compiler's count; 0: unknown."""
    analysis = program.cost_analysis()
    if not analysis:
        return 0.0
    return float(analysis.get("bytes accessed", 0.0))


def training_flops(
    forward: Callable,
    variables: Any,
    images: jax.ShapeDtypeStruct,
    *,
    only_head: bool = False,
) -> float:
    """FLOP of the products of one training step, from its forward pass. Nothing is compiled.

    Args:
      forward: variables and images to logits; its first product is the one that takes the images.
      variables: arrays, or their shapes and dtypes.
      images: the same, `[B, H, W, C]`.
      only_head: nothing but the head has a backward pass, which is too small to be counted.
    """
    jaxpr = jax.make_jaxpr(forward)(variables, images).jaxpr
    products = list(_products(jaxpr))
    if only_head:
        return float(sum(products))
    return float(3 * sum(products) - products[0])


def _products(jaxpr: Any) -> Iterator[float]:
    """FLOP of each convolution and matrix product of a jaxpr, in order; nested ones included.

    A product and a sum are two FLOP.
    """
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "conv_general_dilated":
            yield _convolution_flops(equation)
        elif name == "dot_general":
            yield _matrix_product_flops(equation)
        else:
            iterations = equation.params.get("length", 1) if name == "scan" else 1
            for inner in _inner_jaxprs(equation.params):
                for flops in _products(inner):
                    yield iterations * flops


def _convolution_flops(equation: Any) -> float:
    kernel = equation.invars[1].aval.shape
    output_channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    outputs = equation.outvars[0].aval.size
    return 2.0 * outputs * prod(kernel) / output_channels


def _matrix_product_flops(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    outputs = equation.outvars[0].aval.size
    return 2.0 * outputs * prod(shape[axis] for axis in contracted)


def _inner_jaxprs(parameters: dict) -> Iterator[Any]:
    """The jaxprs among an equation's parameters; of alternatives (a `cond`), the last one."""
    for name, value in parameters.items():
        candidate = value[-1] if name == "branches" else value
        candidate = getattr(candidate, "jaxpr", candidate)
        if hasattr(candidate, "eqns"):
            yield candidate
