"""The nodes and constants of a model while it is converted."""

import hashlib
from collections.abc import Sequence

import numpy as np
from onnx import NodeProto, helper

from hpa_jax.serving.onnx.values import Value


class Graph:
    """Collects nodes in the order in which they are computed.

    Attributes:
      nodes: each with one output that others may take, the first.
      constants: arrays by their names in the graph; equal ones have one name.
    """

    def __init__(self):
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self._names: dict[tuple, str] = {}
        self._count = 0

    def add(
        self,
        operation: str,
        inputs: Sequence[str],
        shape: tuple,
        dtype: np.dtype,
        *,
        channels_first: bool = False,
        positions: tuple[int, int, int] | None = None,
        outputs: int = 1,
        **attributes,
    ) -> Value:
        """A node; `shape`, `dtype`, `channels_first` and `positions` are those of its value.

        `outputs`: how many the operation has; all but the first are left alone.
        """
        name = self._fresh(operation.lower())
        names = [name] + [f"{name}_{number}" for number in range(1, outputs)]
        node = helper.make_node(operation, list(inputs), names, name=name, **attributes)
        self.nodes.append(node)
        return Value(name, tuple(shape), np.dtype(dtype), channels_first, positions)

    def constant(self, array: np.ndarray) -> str:
        """The name of an array in the graph."""
        # Not `ascontiguousarray`, which makes one axis of none and so shifts those of a Gather.
        array = np.array(array, order="C")
        digest = hashlib.sha256(array.tobytes()).digest()
        key = (digest, array.dtype.str, array.shape)
        if key not in self._names:
            name = self._fresh("constant")
            self._names[key] = name
            self.constants[name] = array
        return self._names[key]

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"
