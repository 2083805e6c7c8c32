"""Where and how each block of a net is computed: its backend, and its images on the mesh."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from hpa_jax.models.fused.backend import Backend
from hpa_jax.models.fused.pallas import PallasBackend
from hpa_jax.models.fused.triton import TritonBackend
from hpa_jax.models.fused.xla import XlaBackend

# How arrays lie on the mesh where Pallas kernels run: buffers and the like are sharded along their
# pixels, which is another axis in each layout (`Backend.sharding`).
PIXELS = P("pixels")
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

        def on_mesh(spec: P) -> P:
            return self.backend.sharding if spec == PIXELS else spec

        def is_spec(value) -> bool:
            return isinstance(value, P)

        function = partial(function, self.backend)
        if self.mesh is None:
            return partial(function, axes=())
        return jax.shard_map(
            partial(function, axes=self.mesh.axis_names),
            mesh=self.mesh,
            in_specs=jax.tree.map(on_mesh, in_specs, is_leaf=is_spec),
            out_specs=jax.tree.map(on_mesh, out_specs, is_leaf=is_spec),
            # A `pallas_call` does not declare over which axes its results vary.
            check_vma=False,
        )


def plan_stages(
    shape: tuple[int, int, int, int],
    depths: tuple[int, ...],
    growth: int,
    mesh: Mesh | None,
    kernels: bool = True,
) -> tuple[Stage, ...]:
    """One stage for each block of a net.

    Args:
      shape: of the first block's input, `[B, H, W, C]`.
      depths: dense layers in each block.
      growth: channels that each layer adds.
      mesh: over which the input is sharded.
      kernels: use Pallas kernels where they fit; False: XLA everywhere.
    """
    images, height, width, channels = shape
    stages = []
    for depth in depths:
        total = channels + depth * growth
        backend = None
        if kernels:
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
    interpret: str = "",
) -> PallasBackend | TritonBackend | None:
    """The Pallas kernels for a block's input of this size.

    None where there is neither a TPU nor a GPU that has them, where images are split over devices,
    or where the input does not fit the kernels.

    Args:
      images, height, width, channels: of the input, over all devices.
      growth: channels that each layer adds.
      mesh: over which the input is sharded.
      interpret: `tpu` or `gpu`, whose kernels to run as JAX operations on any device; for tests.
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
    create = None
    platform = interpret or first_device.platform
    if platform == "tpu":
        create = partial(PallasBackend.create, device_kind=first_device.device_kind)
    if platform == "gpu":
        capability = 9 if interpret else _capability(first_device)
        create = partial(TritonBackend.create, capability=capability)
    if create is None:
        return None
    return create(
        images // num_devices, height, width, channels, growth=growth, interpret=bool(interpret)
    )


def _capability(device: jax.Device) -> int:
    """The first number of a GPU's compute capability, such as 9.0; 0 where it is none of NVIDIA."""
    # Of AMD's GPUs it is a name, such as gfx942.
    major, _, _ = device.compute_capability.partition(".")
    return int(major) if major.isdecimal() else 0


def transition_stage(before: Stage, behind: Stage) -> Stage:
    """How the transition between two blocks is computed, into the buffer of the second.

    As the first block, where the second uses the same layout; otherwise by XLA.
    """
    has_same_layout = isinstance(behind.backend, type(before.backend))
    if has_same_layout and before.backend.supports_transition(before.channels):
        return replace(before, channels=behind.channels)
    return Stage(XlaBackend(), None, behind.channels)


def convert_buffer(buffer: jax.Array, source: Stage, target: Stage) -> jax.Array:
    """A buffer of `source` in the layout of `target`."""
    # Buffers of one kind of backend have one layout.
    if isinstance(target.backend, type(source.backend)):
        return buffer
    channels = source.backend.num_channels(buffer)
    return target.backend.to_buffer(source.backend.to_images(buffer), channels)
