"""Whether the environment says that this process is one of several: Cloud TPU, Slurm, Open MPI.

These are the variables that JAX's own cluster detection reads. A machine that is none of these is
not searched for a cluster.
"""

from collections.abc import Mapping

import jax


def is_one_of_several(environment: Mapping[str, str]) -> bool:
    """Whether the cluster's environment variables say that the run has several processes."""
    return _in_slurm_step(environment) or _in_open_mpi(environment) or _in_tpu_slice(environment)


def described(environment: Mapping[str, str]) -> str:
    """What the cluster's variables say, and the remedy where they do not fit; or ''."""
    if _in_slurm_step(environment):
        tasks = _number(environment, "SLURM_NTASKS")
        return (
            f"Slurm speaks of {tasks} tasks; start them with srun, or train alone with "
            "--config.devices.processes=1"
        )
    if _in_open_mpi(environment):
        processes = _number(environment, "OMPI_COMM_WORLD_SIZE")
        return (
            f"Open MPI speaks of {processes} processes; start them with mpirun, or train alone "
            "with --config.devices.processes=1"
        )
    return ""


def may_be_tpu_worker(environment: Mapping[str, str]) -> bool:
    """Whether this is a Cloud TPU machine that may be one of several.

    Only its metadata server says how many workers there are; JAX asks it.
    """
    return _has_tpu(environment) and "TPU_SKIP_MDS_QUERY" not in environment


def _in_slurm_step(environment: Mapping[str, str]) -> bool:
    # The batch script itself has SLURM_NTASKS too; only srun's processes have a node list. The
    # shell of salloc has both, the number being that of the job: its step is one process.
    of_job = _number(environment, "SLURM_NTASKS")
    of_step = _number(environment, "SLURM_STEP_NUM_TASKS", of_job)
    return "SLURM_STEP_NODELIST" in environment and of_job > 1 and of_step > 1


def _in_open_mpi(environment: Mapping[str, str]) -> bool:
    processes = _number(environment, "OMPI_COMM_WORLD_SIZE")
    return "OMPI_MCA_orte_hnp_uri" in environment and processes > 1


def _in_tpu_slice(environment: Mapping[str, str]) -> bool:
    addresses = environment.get("TPU_PROCESS_ADDRESSES")
    names = environment.get("TPU_WORKER_HOSTNAMES")
    hosts = addresses or names or ""
    return _has_tpu(environment) and "," in hosts


def _number(environment: Mapping[str, str], name: str, default: int = 1) -> int:
    """The value of a variable, or `default` where it is not set or no number."""
    value = environment.get(name, "")
    return int(value) if value.isdecimal() and value.isascii() else default


def _has_tpu(environment: Mapping[str, str]) -> bool:
    # `import jax` sets the variable where there are TPU chips and their library. The platform may
    # still be another one, if it was asked for.
    platforms = jax.config.jax_platforms or ""
    return environment.get("TPU_ML_PLATFORM") == "JAX" and "tpu" in platforms
