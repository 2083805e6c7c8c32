"""TPU slices by name (`v5e:2x4`): the compiler's description of their devices, and their memory.

libtpu is imported, through JAX, in functions alone: they are called in a process of its own
(worker.py).
"""

import re

HERE = "here"
"""The devices of this machine, measured."""

# Examples of each generation; the compiler takes any AxB (v2, v3, v5e, v6e) or AxBxC (the others)
# that exists.
KNOWN = (
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
    "v5e:16x16",
    "v5p:2x2x1",
    "v5p:2x2x2",
    "v5p:4x4x4",
    "v6e:1x1",
    "v6e:2x2",
    "v6e:2x4",
    "v6e:4x4",
    "v6e:16x16",
    "tpu7x:2x2x1",
)

_MOST_MEMORY = "v5p:2x2x2"


def devices_of(name: str) -> list:
    """The devices of a slice.

    Raises:
      ValueError: the compiler knows no such slice; the text is its reason.
    """
    from jax.experimental import topologies

    options = {}
    if name.startswith("v4"):
        # Without it a v4 chip shows as two devices.
        options["chip_config_name"] = "megacore"
    attempts = [options]
    shape = [int(side) for side in re.findall(r"\d+", name.partition(":")[2])]
    if shape:
        # Slices smaller than a host need to be told how many chips the host has.
        bounds = (shape + [1, 1, 1])[:3]
        attempts.append(options | {"chips_per_host_bounds": bounds})
    reason = ""
    for attempt in attempts:
        try:
            topology = topologies.get_topology_desc(platform="tpu", topology_name=name, **attempt)
            return topology.devices
        # libtpu raises JaxRuntimeError, NotImplementedError and ValueError alike.
        except Exception as error:
            lines = str(error).splitlines() or [type(error).__name__]
            reason = reason or lines[0]
    raise ValueError(reason)


def roomy_devices(count: int) -> list | None:
    """`count` devices of the chips with the most memory; None where the slice has fewer."""
    devices = devices_of(_MOST_MEMORY)
    if count > len(devices):
        return None
    return devices[:count]


def available_bytes(device) -> int:
    """Memory that a program may fill on `device`; 0 where the compiler does not say.

    Nothing but a refusal tells it: so a program that is far too large is compiled.
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import SingleDeviceSharding

    def too_large(x):
        return jnp.sort(jnp.broadcast_to(x[0, 0], (2**30, 512)) + jnp.arange(512), axis=0)[::7]

    spec = jax.ShapeDtypeStruct((8, 128), jnp.float32, sharding=SingleDeviceSharding(device))
    try:
        jax.jit(too_large).trace(spec).lower(lowering_platforms=("tpu",)).compile()
    except jax.errors.JaxRuntimeError as error:
        found = re.search(r"(?:available HBM \(|of )([\d.]+)([KMGT])", str(error))
        if found:
            return parse_bytes(*found.groups())
    return 0


def parse_bytes(number: str, unit: str) -> int:
    """`15.75`, `G`, as the compiler writes sizes, in powers of 1,024."""
    return round(float(number) * 1024 ** " KMGT".index(unit or " "))
