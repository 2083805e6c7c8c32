"""How much of what a chip can do a run gets: arithmetic and memory traffic a second.

Unusual:
- the arithmetic is what the net needs, not what a program does: three times the products of the plain forward pass (the
  gradient takes two for each), less the gradient of the images, which nobody asks for. What is computed anew to save
  memory does not count, nor do norms, augmentation and optimiser (Chowdhery et al. 2022, arXiv:2204.02311, appendix B);
- the traffic is what the compiler says of the compiled step (of kernels of our own, what they declare): bytes that the
  program asks for, whether or not a cache has them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import jax

from hpa_jax.parallel.chips import Chip


@dataclass(frozen=True)
class Utilisation:
    """
    Attributes:
      chip: whose peaks are compared with; None: not known, and no figures.
      devices: that share each step.
      flops: FLOP of an image's training step.
      step_bytes: that each device moves between its memory and itself in a step; 0: not known.
    """

    chip: Chip | None
    devices: int
    flops: float
    step_bytes: float

    def figures(self, images_per_sec: float, steps_per_sec: float) -> dict[str, float]:
        """`mfu`, the share of the chips' bfloat16 peak; `hbm_gb_per_sec` of each device, and its share of the peak."""
        if self.chip is None:
            return {}
        figures = {"mfu": images_per_sec * self.flops / (self.devices * self.chip.flops_bf16)}
        if self.step_bytes:
            moved = self.step_bytes * steps_per_sec
            figures |= {
                "hbm_gb_per_sec": moved / 1e9,
                "hbm_share": moved / self.chip.hbm_bytes_per_s,
            }
        return figures


def bytes_accessed(program: jax.stages.Compiled) -> float:
    """Bytes that each device moves when it runs a program, as its compiler counts them; 0 where it does not say."""
    analysis = program.cost_analysis()
    return float(analysis.get("bytes accessed", 0.0)) if analysis else 0.0


def training_flops(forward: Callable, variables: Any, images: jax.ShapeDtypeStruct) -> float:
    """FLOP of the products of one training step, from its forward pass alone. Nothing is compiled.

    Args:
      forward: variables and images to logits; its first product is the one that takes the images.
      variables, images: abstract or not.
    """
    products = list(_products(jax.make_jaxpr(forward)(variables, images).jaxpr))
    return float(3 * sum(products) - products[0])


def _products(jaxpr: Any) -> Iterator[float]:
    """FLOP of each convolution and matrix product of a jaxpr and of those in it, in order; a sum counts as one."""
    for equation in jaxpr.eqns:
        name, outputs = equation.primitive.name, equation.outvars
        if name == "conv_general_dilated":
            kernel, spec = (
                equation.invars[1].aval.shape,
                equation.params["dimension_numbers"].rhs_spec,
            )
            yield 2.0 * outputs[0].aval.size * prod(kernel) / kernel[spec[0]]
        elif name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            yield (
                2.0
                * outputs[0].aval.size
                * prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            )
        else:
            times = equation.params.get("length", 1) if name == "scan" else 1
            for inner in _inner(equation.params):
                yield from (times * flops for flops in _products(inner))


def _inner(parameters: dict) -> Iterator[Any]:
    """The jaxprs among an equation's parameters; of alternatives (a `cond`), the last one."""
    for name, value in parameters.items():
        found = value[-1] if name == "branches" else value
        found = getattr(found, "jaxpr", found)
        if hasattr(found, "eqns"):
            yield found
