"""Whether the environment says that this process is one of several: Cloud TPU, Slurm, Open MPI.

These are the variables that JAX's own cluster detection reads. A machine that is none of these is
not searched for a cluster.
"""

from collections.abc import Mapping

import jax


def is_one_of_several(environment: Mapping[str, str]) -> bool:
    """Whether the cluster's environment variables say that the run has several processes."""
    return _in_slurm_step(environment) or _in_open_mpi(environment) or _in_tpu_slice(environment)


def may_be_tpu_worker(environment: Mapping[str, str]) -> bool:
    """Whether this is a Cloud TPU machine that may be one of several.

    Only its metadata server says how many workers there are; JAX asks it.
    """
    return _has_tpu(environment) and "TPU_SKIP_MDS_QUERY" not in environment


def _in_slurm_step(environment: Mapping[str, str]) -> bool:
    tasks = int(environment.get("SLURM_NTASKS", 1))
    # The batch script itself has SLURM_NTASKS too; only srun's processes have a node list.
    return "SLURM_STEP_NODELIST" in environment and tasks > 1


def _in_open_mpi(environment: Mapping[str, str]) -> bool:
    processes = int(environment.get("OMPI_COMM_WORLD_SIZE", 1))
    return "OMPI_MCA_orte_hnp_uri" in environment and processes > 1


def _in_tpu_slice(environment: Mapping[str, str]) -> bool:
    addresses = environment.get("TPU_PROCESS_ADDRESSES")
    names = environment.get("TPU_WORKER_HOSTNAMES")
    hosts = addresses or names or ""
    return _has_tpu(environment) and "," in hosts


def _has_tpu(environment: Mapping[str, str]) -> bool:
    # `import jax` sets the variable where there are TPU chips and their library. The platform may
    # still be another one, if it was asked for.
    platforms = jax.config.jax_platforms or ""
    return environment.get("TPU_ML_PLATFORM") == "JAX" and "tpu" in platforms
