"""What flows between the equations of a jaxpr while it is converted."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Value:
    """The output of a node.

    Attributes:
      name: in the graph.
      shape: as the jaxpr has it, channels last; an axis that broadcasts may be 1 where the jaxpr
        has its full length; the number of images is symbolic.
      dtype: of NumPy.
      channels_first: whether the node has the last axis in the place of the second.
      positions: of a flattened feature map the (h, w, C) that it was, where the node's last axis
        runs as C, h, w and the jaxpr's as h, w, C; None: both are the same.
    """

    name: str
    shape: tuple
    dtype: np.dtype
    channels_first: bool = False
    positions: tuple[int, int, int] | None = None


def is_known(value: "Value | np.ndarray") -> bool:
    """Whether a value is an array rather than the output of a node."""
    return not isinstance(value, Value)


def is_concrete(shape: tuple) -> bool:
    """Whether a shape is the same for any number of images."""
    return all(isinstance(length, int) for length in shape)


def only_value(value: "Value | np.ndarray") -> float | None:
    """The number that a known array consists of; None where it is no such array."""
    if not is_known(value) or np.size(value) != 1:
        return None
    return float(np.ravel(value)[0])
