"""The mesh of devices, and how each kind of array is laid out on it.

The axis `data` shards a batch by images. The axis `space` shards the height of each image, for
images too large for one device and for batches with fewer images than devices: the compiler then
exchanges rows at the borders where a convolution needs them, and sums batch statistics and
gradients over both axes. `space` is 1 unless asked for or needed.

Design: images arrive on the devices complete, the same ones on every device of a space group, and
are sharded by rows once they are augmented. A rotation or crop of an image needs rows from
anywhere in it; as uint8 the complete image costs little (38 MB at 3072 px), while exchanging rows
would cost an all-gather a step.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hpa_jax.errors import InputError

MIN_ROWS = 4
"""Rows of a net's last map, at least, where its height is sharded."""


def make_mesh(devices: Sequence | None = None, space: int = 1) -> Mesh:
    """Makes a mesh `('data', 'space')` in the shape `(devices / space, space)`.

    Devices of one process are adjacent, so that a process holds a contiguous part of each batch.
    On a TPU each device of a space group is a neighbor of the next one in the torus.

    Args:
      devices: of the mesh; None: all.
      space: devices that share the height of each image.

    Raises:
      InputError: the devices cannot form groups of `space`.
    """
    devices = jax.devices() if devices is None else devices
    if len(devices) % space:
        raise _wrong_space(space, len(devices))
    grid = np.array(sorted(devices, key=_place)).reshape(-1, space)
    # With explicit axes JAX refuses `vmap` over sharded images with unsharded keys, which
    # augmentation needs.
    return Mesh(grid, ("data", "space"), axis_types=(AxisType.Auto, AxisType.Auto))


def _place(device) -> tuple:
    """Sort key: by process, then along a path through the torus that turns back at each end."""
    x, y, z = getattr(device, "coords", None) or (0, 0, 0)
    row = -y if z % 2 else y
    column = -x if (y + z) % 2 else x
    return device.process_index, z, row, column, device.id


def _wrong_space(space: int, local: int) -> InputError:
    choices = ", ".join(map(str, _divisors(local)))
    return InputError(
        f"config.devices.space={space} does not divide the {local} devices of a process, which "
        f"holds complete images; choose 0 or one of {choices}"
    )


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def space_for(
    batch_size: int, height: int, multiple: int, devices: Sequence, space: int = 0
) -> int:
    """Over how many devices to shard the height of each image.

    Every map of the net has to be divided evenly: otherwise the compiler pads each of them and
    masks the padding. The last map needs MIN_ROWS rows: where it has two, sharded over both axes,
    XLA loses the gradient of a 3x3 convolution's input (jax 0.10.2 on CPU devices: the loss is
    right, the gradients are not).

    Args:
      batch_size: images of a step, over all devices.
      height: of the images, px.
      multiple: px per row of the net's last map, where the net shrinks multiples of them without
        remainder; 0: it has no such heights.
      devices: of the run. With several processes each space group lies in one of them, which holds
        complete images. Devices that are elsewhere, to be compiled for ahead of time, count as
        this process's.
      space: what is asked for; 0: the fewest with which the batch divides over the groups, 1 where
        it divides over all devices.

    Raises:
      InputError: the devices cannot share such a batch, or such images.
    """
    total = len(devices)
    local = total // jax.process_count()
    if space and local % space:
        raise _wrong_space(space, local)
    choices = [space] if space else _divisors(local)
    divides_batch = [n for n in choices if batch_size % (total // n) == 0]
    if not divides_batch:
        raise _wrong_batch_size(batch_size, total, max(choices))
    for n in divides_batch:
        if n == 1 or _divides_height(height, n, multiple):
            return n
    raise _wrong_height(height, divides_batch[0], multiple, total)


def _divides_height(height: int, space: int, multiple: int) -> bool:
    if not multiple:
        return False
    return height % (space * multiple) == 0 and height >= MIN_ROWS * multiple


def _wrong_batch_size(batch_size: int, devices: int, space: int) -> InputError:
    groups = devices // space
    if groups in (1, devices):
        sharers = f"{devices} devices"
    else:
        sharers = f"{groups} groups of {space} devices"
    return InputError(
        f"config.data.batch_size={batch_size} cannot be sharded over {sharers}; "
        f"choose a multiple of {groups}"
    )


def _wrong_height(height: int, space: int, multiple: int, devices: int) -> InputError:
    otherwise = f"or a config.data.batch_size that is a multiple of {devices}, one image a device"
    if not multiple:
        return InputError(
            f"config.devices.space={space}: the height of images cannot be sharded for this "
            "config.model.name; "
            f"choose a DenseNet or resnet50, {otherwise}"
        )
    least = MIN_ROWS * multiple
    unit = space * multiple
    nearest = max(-(-least // unit), round(height / unit)) * unit
    return InputError(
        f"images of {height} px cannot be sharded over config.devices.space={space} devices, which "
        f"takes a multiple of {unit} px, {least} at least; "
        f"choose config.data.image_size={nearest}, {otherwise}"
    )


def mesh_for(batch_size: int, height: int, multiple: int, space: int = 0) -> Mesh:
    """The mesh of all devices for such batches and images.

    Arguments and errors are those of `space_for`.
    """
    devices = jax.devices()
    return make_mesh(devices, space_for(batch_size, height, multiple, devices, space))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of parameters, statistics and optimizer state: a full copy on each device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of batches: by images, each complete on every device of its space group."""
    return NamedSharding(mesh, P("data"))


def row_sharder(mesh: Mesh | None) -> Callable[[jax.Array], jax.Array]:
    """A function that, inside a jitted step, shards `[B, H, ...]` by rows as well as by images.

    From there on the compiler keeps that sharding. Without a `space` axis it is the identity.
    """
    return _constraint(mesh, P("data", "space"))


def image_replicator(mesh: Mesh | None) -> Callable[[jax.Array], jax.Array]:
    """A function that keeps `[B, ...]` complete on each device of a space group.

    Without it the compiler would shard such arrays by rows too early.
    """
    return _constraint(mesh, P("data"))


def _constraint(mesh: Mesh | None, spec: P) -> Callable[[jax.Array], jax.Array]:
    if mesh is None or mesh.shape["space"] == 1:
        return lambda array: array
    sharding = NamedSharding(mesh, spec)
    return lambda array: jax.lax.with_sharding_constraint(array, sharding)


def process_slice() -> dict[str, int]:
    """Which part of each batch this process reads: keyword arguments of the loader's functions."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def put_replicated(tree, mesh: Mesh):
    """Puts arrays that every process holds alike onto all devices.

    Args:
      tree: of arrays on the host or on one device.
      mesh: of the devices.

    Returns:
      The tree of global arrays, replicated.
    """
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    # Not device_put, which compares the processes' values, one leaf after the other.
    def put(leaf):
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))

    return jax.tree.map(put, tree)


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts this process's part of a batch (host arrays) onto its devices, as global arrays."""
    sharding = batch_sharding(mesh)
    arrays = {}
    for name, value in batch.items():
        arrays[name] = jax.make_array_from_process_local_data(sharding, value)
    return arrays
