"""NVIDIA GPUs by name (`h100:8`): what the compiler has to know of one that is not there.

XLA takes the description of a GPU as text (`stream_executor.GpuTargetConfigProto`), and compiles
for it without one. Here it is made from a few numbers:

- of each GPU, those of its data sheet or architecture paper (NVIDIA), as the specifications in
  xla/backends/gpu/target_config/specs of openxla/xla have them too (Apache License 2.0);
- of each compute capability, table "Technical Specifications per Compute Capability" of the CUDA
  C++ Programming Guide (NVIDIA);
- memory and its bandwidth, those of hpa_jax/parallel/chips.py.

To add a GPU, add it there and to `GPUS`.
"""

import os
from typing import NamedTuple

from hpa_jax.parallel.chips import CHIPS

DEVICES_OF_A_HOST = 8
"""GPUs that one machine has at most; more of them are several machines."""

_MEMORY_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"
_DEFAULT_FRACTION = 0.75  # JAX's, of a GPU's memory

# Of what the data sheet says, the driver and error correction keep the rest.
_USABLE = 0.985


class Gpu(NamedTuple):
    """A GPU.

    Attributes:
      device_kind: JAX's name of it, a key of CHIPS.
      capability: of computing, major and minor.
      multiprocessors: how many.
      clock_ghz: at most.
      cache_mib: of level 2.
    """

    device_kind: str
    capability: tuple[int, int]
    multiprocessors: int
    clock_ghz: float
    cache_mib: float

    @property
    def memory_bytes(self) -> int:
        """What the driver leaves of its memory."""
        return int(_USABLE * CHIPS[self.device_kind].hbm_bytes)


class _Multiprocessor(NamedTuple):
    """Limits of a compute capability: threads, float32 units, and bytes of shared memory."""

    threads: int
    units: int
    shared: int
    shared_of_block: int


_KIB = 1024
_CAPABILITIES = {
    (7, 5): _Multiprocessor(1024, 64, 64 * _KIB, 64 * _KIB),
    (8, 0): _Multiprocessor(2048, 64, 164 * _KIB, 163 * _KIB),
    (8, 6): _Multiprocessor(1536, 128, 100 * _KIB, 99 * _KIB),
    (8, 9): _Multiprocessor(1536, 128, 100 * _KIB, 99 * _KIB),
    (9, 0): _Multiprocessor(2048, 128, 228 * _KIB, 227 * _KIB),
    (10, 0): _Multiprocessor(2048, 128, 228 * _KIB, 227 * _KIB),
    (12, 0): _Multiprocessor(1536, 128, 100 * _KIB, 99 * _KIB),
}

# From these on there are instructions of one generation alone (sm_90a).
_OWN_INSTRUCTIONS = ((9, 0), (10, 0))

GPUS = {
    "t4": Gpu("NVIDIA T4", (7, 5), 40, 1.59, 4),
    "a100": Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 108, 1.41, 40),
    "a100-40": Gpu("NVIDIA A100-SXM4-40GB", (8, 0), 108, 1.41, 40),
    "a10": Gpu("NVIDIA A10", (8, 6), 72, 1.695, 6),
    "a6000": Gpu("NVIDIA RTX A6000", (8, 6), 84, 1.8, 6),
    "rtx3060": Gpu("NVIDIA GeForce RTX 3060", (8, 6), 28, 1.777, 3),
    "rtx3090": Gpu("NVIDIA GeForce RTX 3090", (8, 6), 82, 1.695, 6),
    "l4": Gpu("NVIDIA L4", (8, 9), 58, 2.04, 48),
    "l40s": Gpu("NVIDIA L40S", (8, 9), 142, 2.52, 96),
    "rtx4060": Gpu("NVIDIA GeForce RTX 4060", (8, 9), 24, 2.46, 24),
    "rtx4080": Gpu("NVIDIA GeForce RTX 4080", (8, 9), 76, 2.505, 64),
    "rtx4090": Gpu("NVIDIA GeForce RTX 4090", (8, 9), 128, 2.52, 72),
    "h100": Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 1.98, 50),
    "h200": Gpu("NVIDIA H200", (9, 0), 132, 1.98, 50),
    "b200": Gpu("NVIDIA B200", (10, 0), 148, 1.965, 126.5),
    "rtx5090": Gpu("NVIDIA GeForce RTX 5090", (12, 0), 170, 2.407, 96),
}
"""By the name that a topology has before its colon."""


def is_gpu(topology: str) -> bool:
    """Whether a topology names one of GPUS."""
    return topology.partition(":")[0].lower() in GPUS


def parse(topology: str) -> tuple[Gpu, int]:
    """`h100:8` as the GPU and how many of it.

    Raises:
      ValueError: no such number of GPUs; the text is the reason.
    """
    name, _, count = topology.partition(":")
    if not count.isdecimal() or not int(count):
        raise ValueError(f"give the number of GPUs, such as {name}:1 or {name}:8")
    number = int(count)
    if number > DEVICES_OF_A_HOST and number % DEVICES_OF_A_HOST:
        raise ValueError(f"more than {DEVICES_OF_A_HOST} GPUs are a multiple of that")
    return GPUS[name.lower()], number


def devices_of(topology: str) -> list:
    """The devices of a topology, in a process that finds JAX's plugin for CUDA.

    Raises:
      ValueError: there is no such topology.
    """
    from jax.experimental import topologies

    gpu, count = parse(topology)
    hosts = max(1, count // DEVICES_OF_A_HOST)
    # Slices, hosts of a slice, GPUs of a host.
    shape = f"1x{hosts}x{count // hosts}"
    found = topologies.get_topology_desc(
        platform="cuda", target_config=target_config(gpu), topology=shape
    )
    return found.devices


def available_bytes(topology: str) -> int:
    """Memory that JAX's allocator takes of each device of a topology."""
    gpu, _ = parse(topology)
    fraction = float(os.environ.get(_MEMORY_FRACTION) or _DEFAULT_FRACTION)
    return int(fraction * gpu.memory_bytes)


def target_config(gpu: Gpu) -> str:
    """The description of a GPU as XLA takes it: the text of a GpuTargetConfigProto."""
    major, minor = gpu.capability
    limits = _CAPABILITIES[gpu.capability]
    extension = "ACCELERATED_FEATURES" if gpu.capability in _OWN_INSTRUCTIONS else "NONE"
    bandwidth = int(CHIPS[gpu.device_kind].hbm_bytes_per_s)
    return f"""
platform_name: "CUDA"
device_description_str: "{gpu.device_kind}"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
gpu_device_info {{
  name: "{gpu.device_kind}"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {extension} }}
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
  core_count: {gpu.multiprocessors}
  fpus_per_core: {limits.units}
  clock_rate_ghz: {gpu.clock_ghz}
  device_memory_size: {gpu.memory_bytes}
  memory_bandwidth: {bandwidth}
  l2_cache_size: {int(gpu.cache_mib * 2**20)}
  shared_memory_per_core: {limits.shared}
  shared_memory_per_block: {48 * _KIB}
  shared_memory_per_block_optin: {limits.shared_of_block}
  threads_per_core_limit: {limits.threads}
  threads_per_block_limit: 1024
  threads_per_warp: 32
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
"""
