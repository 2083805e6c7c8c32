"""TPU slices (`v5e:2x4`) and GPUs (`h100:8`) by name: the compilers' description of their devices,
and their memory.

Compilers are imported, through JAX, in functions alone: they are called in a process of its own
(worker.py).
"""

import re

from hpa_jax.plan import gpus

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
    *(f"{name}:1" for name in gpus.GPUS),
    "a100:8",
    "h100:8",
)

_MOST_MEMORY = "v5p:2x2x2"
_MOST_GPU_MEMORY = "b200:8"


def platform_of(name: str) -> str:
    """JAX's name of what a topology consists of: `tpu` or `cuda`."""
    return "cuda" if gpus.is_gpu(name) else "tpu"


def devices_of(name: str) -> list:
    """The devices of a topology.

    Raises:
      ValueError: the compiler knows no such topology; the text is its reason.
    """
    if gpus.is_gpu(name):
        return gpus.devices_of(name)
    return _devices_of_slice(name)


def _devices_of_slice(name: str) -> list:
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


def roomiest(like: str) -> str:
    """The topology of the chips with the most memory, of the same platform as another."""
    return _MOST_GPU_MEMORY if gpus.is_gpu(like) else _MOST_MEMORY


def available_bytes(name: str, device) -> int:
    """Memory that a program may fill on `device` of a topology; 0 where that is not known.

    Of a TPU nothing but a refusal tells it: so a program that is far too large is compiled.
    """
    if gpus.is_gpu(name):
        return gpus.available_bytes(name)

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
