"""The devices as one mesh, and where each kind of array lies on it.

`data` cuts a batch into fields. `space` cuts the height of each, for fields too large for one device and for batches of
fewer fields than there are devices: the compiler then exchanges the rows at the cuts where a convolution asks for them,
and sums batch statistics and gradients over both axes. It is 1 unless asked for or needed.

Unusual: images come to the devices as whole fields, on each device of a space group the same ones, and are cut when
they are augmented. A symmetry or a window of a field needs rows from anywhere in it; on uint8 whole fields cost little
(38 MB at 3072 px), where exchanging them would cost an all-gather a step.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hpa_jax.errors import InputError

LEAST_ROWS = 4
"""Of a net's last map, where its height is cut."""


def make_mesh(devices: Sequence | None = None, space: int = 1) -> Mesh:
    """A mesh `('data', 'space')` of all devices, or of those given, in the shape `(devices / space, space)`.

    Devices of one process stand side by side, so that a process holds a contiguous part of each batch. On a TPU each
    device of a space group is a neighbour of the next one in the torus.

    Axes are Auto: with explicit axes `vmap` over sharded images with unsharded keys is refused, which augmentation
    needs.

    Raises:
      InputError: groups of `space` devices cannot be formed.
    """
    devices = sorted(jax.devices() if devices is None else devices, key=_place)
    if len(devices) % space:
        raise _not_so_many(space, len(devices))
    return Mesh(
        np.array(devices).reshape(-1, space), ("data", "space"), axis_types=(AxisType.Auto,) * 2
    )


def _place(device) -> tuple:
    """Order of the devices: by process, then along a path through its part of the torus that turns at each end."""
    x, y, z = getattr(device, "coords", None) or (0, 0, 0)
    return device.process_index, z, -y if z % 2 else y, -x if (y + z) % 2 else x, device.id


def _not_so_many(space: int, local: int) -> InputError:
    choices = ", ".join(map(str, _divisors(local)))
    return InputError(
        f"config.devices.space={space} does not divide the {local} devices of a process, which holds whole fields; "
        f"choose 0 or one of {choices}"
    )


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def space_for(
    batch_size: int, height: int, multiple: int, devices: Sequence, space: int = 0
) -> int:
    """Over how many devices the height of each image is cut.

    Every map of the net is to be cut evenly: else the compiler pads each of them and masks the padding. And the last
    map is to have LEAST_ROWS rows: where a map has two, cut over both axes, XLA loses the gradient of a 3x3
    convolution's input (jax 0.10.2 on CPU devices: a loss that is right, and gradients that are not).

    Args:
      batch_size: fields of a step, over all devices.
      height: of the images, px.
      multiple: px to a row of the net's last map, where it shrinks a multiple of them without remainder; 0: it has no
        such heights.
      devices: of the run. Where it has several processes, each space group is of one, which holds whole fields; what
        is compiled ahead for devices that are elsewhere is not asked how they will be shared out.
      space: what is asked for; 0: as few as let the batch be cut over the others, 1 where it can be cut over all.

    Raises:
      InputError: the devices cannot share such a batch, or such images.
    """
    total = len(devices)
    local = total // jax.process_count()
    if space and local % space:
        raise _not_so_many(space, local)
    choices = (space,) if space else _divisors(local)
    shared = [n for n in choices if batch_size % (total // n) == 0]
    if not shared:
        parts = total // max(choices)
        over = (
            f"{total} devices"
            if parts in (1, total)
            else f"{parts} groups of {max(choices)} devices"
        )
        raise InputError(
            f"config.data.batch_size={batch_size} cannot be cut over {over}; choose a multiple of {parts}"
        )
    for n in shared:
        if n == 1 or (
            multiple and height % (n * multiple) == 0 and height >= LEAST_ROWS * multiple
        ):
            return n
    n, ways = (
        shared[0],
        f"or a config.data.batch_size that is a multiple of {total}, one field a device",
    )
    if not multiple:
        raise InputError(
            f"config.devices.space={n}: the height of images cannot be cut for this config.model.name, whose maps no "
            f"number of devices divides evenly; choose a DenseNet or resnet50, {ways}"
        )
    least, unit = LEAST_ROWS * multiple, n * multiple
    near = max(-(-least // unit), round(height / unit)) * unit
    raise InputError(
        f"images of {height} px cannot be cut over config.devices.space={n} devices, which takes a multiple of {unit} "
        f"px, {least} at least; choose config.data.image_size={near}, {ways}"
    )


def mesh_for(batch_size: int, height: int, multiple: int, space: int = 0) -> Mesh:
    """The mesh of all devices for such batches and images; arguments and errors as in `space_for` and `make_mesh`."""
    devices = jax.devices()
    return make_mesh(devices, space_for(batch_size, height, multiple, devices, space))


def replicated(mesh: Mesh) -> NamedSharding:
    """Parameters, statistics and optimiser: whole on each device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches: cut along their first axis, each field whole on every device of its space group."""
    return NamedSharding(mesh, P("data"))


def row_sharder(mesh: Mesh | None) -> Callable[[jax.Array], jax.Array]:
    """What cuts `[B, H, ...]` by rows inside a jitted step; from there on the compiler keeps the cut."""
    return _placer(mesh, P("data", "space"))


def image_replicator(mesh: Mesh | None) -> Callable[[jax.Array], jax.Array]:
    """What keeps `[B, ...]` whole on each device of a space group, where the compiler would cut it ahead of time."""
    return _placer(mesh, P("data"))


def _placer(mesh: Mesh | None, spec: P) -> Callable[[jax.Array], jax.Array]:
    if mesh is None or mesh.shape["space"] == 1:
        return lambda array: array
    return lambda array: jax.lax.with_sharding_constraint(array, NamedSharding(mesh, spec))


def process_slice() -> dict[str, int]:
    """Which part of each batch is this process's: keyword arguments of `data.train_batches` and `eval_batches`."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def put_replicated(tree, mesh: Mesh):
    """Arrays that every process holds alike, on the host or one device, as global arrays, whole on each device."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    # Not device_put, which compares the processes' values, one leaf after the other.
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf)), tree
    )


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's part of a batch (host arrays) as global arrays, cut over the mesh."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }
