"""Where and how each block of a net is computed: its backend, and its images on the mesh."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from hpa_jax.models.fused.backend import Backend
from hpa_jax.models.fused.pallas import PallasBackend
from hpa_jax.models.fused.xla import XlaBackend

# How arrays lie on the mesh where Pallas kernels run: buffers are sharded along their pixels.
PIXELS = P(None, "data")
REPLICATED = P()


@dataclass(frozen=True)
class Stage:
    """How a block is computed.

    Attributes:
      backend: of its convolutions.
      mesh: whose devices each compute on their own images, by `shard_map`, as Pallas kernels have
        to; None where XLA shards the arrays, or with one device.
      channels: of its buffer.
    """

    backend: Backend
    mesh: Mesh | None
    channels: int

    def per_device(self, function: Callable, *, in_specs: tuple, out_specs: tuple) -> Callable:
        """`function(backend, *arrays, axes)`, to be called with the arrays only.

        Args:
          function: runs on each device's part; `axes` are those of the mesh over which it has to
            sum, () where the arrays are complete.
          in_specs: PIXELS or REPLICATED, of each argument.
          out_specs: the same of each result.
        """
        function = partial(function, self.backend)
        if self.mesh is None:
            return partial(function, axes=())
        return jax.shard_map(
            partial(function, axes=self.mesh.axis_names),
            mesh=self.mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            # A `pallas_call` does not declare over which axes its results vary.
            check_vma=False,
        )


def plan_stages(
    shape: tuple[int, int, int, int], depths: tuple[int, ...], growth: int, mesh: Mesh | None
) -> tuple[Stage, ...]:
    """One stage for each block of a net.

    Args:
      shape: of the first block's input, `[B, H, W, C]`.
      depths: dense layers in each block.
      growth: channels that each layer adds.
      mesh: over which the input is sharded.
    """
    images, height, width, channels = shape
    stages = []
    for depth in depths:
        total = channels + depth * growth
        backend = backend_of(images, height, width, channels, growth, mesh)
        if backend is None:
            stages.append(Stage(XlaBackend(), None, total))
        else:
            stages.append(Stage(backend, mesh, total))
        # As the transitions do, which leave out an odd last row or column.
        height = height // 2
        width = width // 2
        channels = total // 2
    return tuple(stages)


def backend_of(
    images: int,
    height: int,
    width: int,
    channels: int,
    growth: int,
    mesh: Mesh | None,
    interpret: bool = False,
) -> PallasBackend | None:
    """The Pallas kernels for a block's input of this size.

    None where there is no TPU, where images are split over devices, or where the input does not
    fit the kernels.
    """
    if mesh is None:
        num_devices = 1
        first_device = jax.devices()[0]
    else:
        num_devices = mesh.size
        first_device = mesh.devices.flat[0]
        # Kernels see only their own device's rows, so each device needs complete images.
        if mesh.shape["data"] != num_devices:
            return None
    if images % num_devices:
        return None
    if first_device.platform != "tpu" and not interpret:
        return None
    return PallasBackend.create(
        images // num_devices, height, width, channels, growth=growth, interpret=interpret
    )


def transition_stage(before: Stage, behind: Stage) -> Stage:
    """How the transition between two blocks is computed, into the buffer of the second.

    As the first block, where the second uses the same layout; otherwise by XLA.
    """
    has_same_layout = isinstance(behind.backend, type(before.backend))
    if has_same_layout and before.backend.supports_transition():
        return replace(before, channels=behind.channels)
    return Stage(XlaBackend(), None, behind.channels)


def convert_buffer(buffer: jax.Array, source: Stage, target: Stage) -> jax.Array:
    """A buffer of `source` in the layout of `target`."""
    # Buffers of one kind of backend have one layout.
    if isinstance(target.backend, type(source.backend)):
        return buffer
    channels = source.backend.num_channels(buffer)
    return target.backend.to_buffer(source.backend.to_images(buffer), channels)
