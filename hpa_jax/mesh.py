"""The devices as one mesh, and where each kind of array lies on it."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hpa_jax.errors import InputError


def make_mesh(devices: list | None = None) -> Mesh:
    """A mesh `('data', 'space')` of all devices, or of those given; `space` is 1.

    Axes are Auto: with explicit axes `vmap` over sharded images with unsharded keys is refused, which augmentation
    needs.
    """
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices), 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Parameters, statistics and optimiser: whole on each device."""
    return NamedSharding(mesh, P())


def by_field(mesh: Mesh) -> NamedSharding:
    """Batches: cut along their first axis."""
    return NamedSharding(mesh, P("data"))


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Refuses a batch that the devices cannot share equally."""
    devices = mesh.shape["data"]
    if batch_size % devices:
        raise InputError(
            f"config.data.batch_size={batch_size} cannot be cut over {devices} devices; choose a multiple of {devices}"
        )


def put_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's part of a batch (host arrays) as global arrays, cut over the mesh."""
    sharding = by_field(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, value) for name, value in batch.items()}
