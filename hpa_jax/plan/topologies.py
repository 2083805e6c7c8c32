"""TPU slices by name (`v5e:2x4`): the compiler's description of their devices, and how much memory a program may fill.

Imports libtpu, through JAX, in functions alone: they are called in a process of its own (children.py).
"""

import re

# Some that the compiler knows, of each generation; it takes any AxB (v2, v3, v5e, v6e) or AxBxC (the others) there is.
KNOWN = (
    *(
        "v2:2x2",
        "v3:2x2",
        "v4:2x2x1",
        "v4:2x2x2",
        "v5e:1x1",
        "v5e:2x2",
        "v5e:2x4",
        "v5e:4x4",
        "v5e:4x8",
        "v5e:8x8",
    ),
    *(
        "v5e:16x16",
        "v5p:2x2x1",
        "v5p:2x2x2",
        "v5p:4x4x4",
        "v6e:1x1",
        "v6e:2x2",
        "v6e:2x4",
        "v6e:4x4",
        "v6e:16x16",
    ),
    "tpu7x:2x2x1",
)
HERE = "here"
"""The devices at hand, measured."""

_ROOMIEST = "v5p:2x2x2"


def devices_of(name: str) -> list:
    """The devices of a slice.

    Raises:
      ValueError: the compiler knows no such slice; its reason.
    """
    from jax.experimental import topologies

    # A v4 chip is one device only so; the others are by themselves.
    options = {"chip_config_name": "megacore"} if name.startswith("v4") else {}
    shape = [int(n) for n in re.findall(r"\d+", name.partition(":")[2])]
    tries = [options]
    if shape:  # slices below a whole host want to be told how many chips the host has
        tries.append(options | {"chips_per_host_bounds": (shape + [1, 1, 1])[:3]})
    reason = ""
    for more in tries:
        try:
            return topologies.get_topology_desc(platform="tpu", topology_name=name, **more).devices
        except (
            Exception
        ) as error:  # JaxRuntimeError, NotImplementedError, ValueError: whatever libtpu finds wrong
            reason = reason or (str(error).splitlines() or [type(error).__name__])[0]
    raise ValueError(reason)


def roomy_devices(count: int) -> list | None:
    """So many devices of a slice whose chips have the most memory; None where it has not as many."""
    devices = devices_of(_ROOMIEST)
    return devices[:count] if count <= len(devices) else None


def available_bytes(device) -> int:
    """Memory that a program may fill on such a device: what the compiler says when it refuses one that is too large."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import SingleDeviceSharding

    spec = jax.ShapeDtypeStruct((8, 128), jnp.float32, sharding=SingleDeviceSharding(device))
    huge = jax.jit(
        lambda x: jnp.sort(jnp.broadcast_to(x[0, 0], (2**30, 512)) + jnp.arange(512), axis=0)[::7]
    )
    try:
        huge.trace(spec).lower(lowering_platforms=("tpu",)).compile()
    except jax.errors.JaxRuntimeError as error:
        found = re.search(r"(?:available HBM \(|of )([\d.]+)([KMGT])", str(error))
        return in_bytes(*found.groups()) if found else 0
    return 0


def in_bytes(number: str, unit: str) -> int:
    """`15.75`, `G` as the compiler writes sizes, in powers of 1,024."""
    return round(float(number) * 1024 ** " KMGT".index(unit or " "))
