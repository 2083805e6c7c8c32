"""What the environment of a cluster says about the processes of a run."""

import jax
import pytest

from hpa_jax.parallel.cluster import described, is_one_of_several, may_be_tpu_worker

SLURM_BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}  # before it has called srun
SALLOC_SHELL = {"SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "node1", "SLURM_PROCID": "0"}
ENVIRONMENTS = [
    ({}, False),
    (SLURM_BATCH_SCRIPT, False),
    ({"SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "node[1-4]"}, True),
    ({"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "node1"}, False),
    # The shell of `salloc -n 4`: the job has four tasks, this step is one process.
    ({**SALLOC_SHELL, "SLURM_STEP_NUM_TASKS": "1"}, False),
    ({**SALLOC_SHELL, "SLURM_STEP_NUM_TASKS": "4"}, True),
    ({**SALLOC_SHELL, "SLURM_NTASKS": ""}, False),
    ({**SALLOC_SHELL, "SLURM_NTASKS": "4(x2)"}, False),
    ({"OMPI_COMM_WORLD_SIZE": "two", "OMPI_MCA_orte_hnp_uri": "x"}, False),
    # A pod of Kubernetes, also one of an indexed job: its processes are told by config.devices.
    ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}, False),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}, True),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, False),  # no chips
]


@pytest.mark.parametrize("environment, several", ENVIRONMENTS)
def test_clusters_are_recognized(environment, several):
    assert is_one_of_several(environment) == several
    assert not may_be_tpu_worker(environment)


def test_what_the_cluster_says_comes_with_the_remedy():
    assert described({}) == ""
    slurm = described(SALLOC_SHELL)
    assert "4 tasks" in slurm and "srun" in slurm and "devices.processes=1" in slurm
    mpi = described({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "x"})
    assert "2 processes" in mpi and "mpirun" in mpi


@pytest.fixture
def tpu_platform():
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "tpu,cpu")
    yield
    jax.config.update("jax_platforms", before)


def test_on_a_cloud_tpu(tpu_platform):
    machine = {"TPU_ML_PLATFORM": "JAX"}
    assert may_be_tpu_worker(machine) and not is_one_of_several(machine)
    assert is_one_of_several(machine | {"TPU_WORKER_HOSTNAMES": "a,b"})
    assert not may_be_tpu_worker(machine | {"TPU_SKIP_MDS_QUERY": "1"})
