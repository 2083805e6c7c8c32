"""Several processes of one run: who is blamed, where all stop, what is refused. As real processes: test_together.py."""

import threading
import time

import jax
import pytest

from hpa_jax.config import Config, Devices, check
from hpa_jax.errors import InputError
from hpa_jax.parallel import process_group
from hpa_jax.parallel.watchdog import AGAIN, SLOW, Report, Roll, Watchdog

TIMEOUT = 30


def roll_of(*reports, me=0, at=0.0):
    roll = Roll(me, len(reports), TIMEOUT)
    roll.update(dict(enumerate(reports)), at)
    return roll


def alive(roll, *reports, until):
    """Beats every second and nothing else changes."""
    for second in range(1, until + 1):
        roll.update(
            {p: Report(**vars_of(r) | {"beat": second}) for p, r in enumerate(reports)},
            float(second),
        )
    return roll.verdict(float(until))


def vars_of(report):
    return {name: getattr(report, name) for name in Report.__slots__}


def test_who_is_not_heard_of_is_named():
    reports = [Report("a", 1, 7, "step 7"), Report("b", 1, 7, "step 7")]
    roll = roll_of(*reports)
    for second in range(1, TIMEOUT + 2):
        roll.update({0: Report("a", 1 + second, 7, "step 7"), 1: reports[1]}, float(second))
        assert bool(roll.verdict(float(second))) == (second > TIMEOUT)
    assert (
        roll.verdict(31.0) == f"process 1 (b) gave no sign of life for 31 s, last at step 7{AGAIN}"
    )


def test_who_stands_behind_the_others_is_named_and_not_those_that_wait():
    reports = [
        Report("a", 1, 9, "step 8"),
        Report("b", 1, 8, "reading the batch of step 8"),
        Report("c", 1, 9),
    ]
    assert alive(roll_of(*reports), *reports, until=TIMEOUT) == ""
    found = alive(roll_of(*reports), *reports, until=TIMEOUT + 1)
    assert found.startswith("process 1 (b) did not get on for 31 s at reading the batch of step 8")


def test_time_counts_from_the_last_that_got_on():
    reports = [Report("a", 1, 9, "step 9"), Report("b", 1, 8, "step 8")]
    roll = roll_of(*reports)
    assert alive(roll, *reports, until=TIMEOUT) == ""
    roll.update({0: Report("a", 50, 10, "step 10")}, 30.5)
    assert alive(roll, Report("a", 1, 10, "step 10"), reports[1], until=TIMEOUT + 20) == ""


@pytest.mark.parametrize("marks", [(3, 3), (4, 3)])
def test_what_may_last_and_what_all_are_at_is_bounded_too(marks):
    reports = [
        Report("a", 1, marks[0], "compiling", True),
        Report("b", 1, marks[1], "compiling", True),
    ]
    assert alive(roll_of(*reports), *reports, until=SLOW * TIMEOUT) == ""
    assert "compiling" in alive(roll_of(*reports), *reports, until=SLOW * TIMEOUT + 1)


def test_who_ends_badly_is_named_with_the_reason_and_who_ends_well_is_not_missed():
    roll = roll_of(Report("a", 1, 9, ended=""), Report("b", 1, 3, "step 3"))
    roll.update({1: Report("b", 2, 3, "step 3")}, 90.0)
    assert roll.verdict(90.0) == ""
    reports = [Report("a", 1, 3), Report("b", 1, 3, ended="error: shard 3 is damaged")]
    assert roll_of(*reports).verdict(0.0) == "process 1 (b) has ended: error: shard 3 is damaged"
    assert roll_of(*reports, me=1).verdict(0.0) == ""  # it knows
    roll = roll_of(
        Report("a", 1, 3, verdict="process 2 (c) is late"),
        Report("b", 1, 3),
        Report("c", 1, 3),
        me=1,
    )
    assert roll.verdict(0.0) == "process 2 (c) is late"


def watches(count):
    """Processes of which each has a thread for its work, with a dict in place of the store."""
    store, lock = {}, threading.Lock()

    def exchange(index):
        def one(line):
            with lock:
                store[index] = line
                return dict(store)

        return one

    settings = {"timeout_s": 60, "say": lambda text: None}
    return [
        Watchdog(p, count, host=f"host{p}", exchange=exchange(p), **settings) for p in range(count)
    ]


def test_all_stop_at_the_same_mark_wherever_they_are_when_one_is_asked():
    peers, stopped = watches(3), {}

    def work(peer, seconds):
        for step in range(100000):
            if peer.at(f"step {step}"):
                stopped[peer.index] = step
                return
            time.sleep(seconds)

    threads = [threading.Thread(target=work, args=(p, 0.002 * (1 + p.index))) for p in peers]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    peers[2].ask_to_stop("SIGTERM")
    for thread in threads:
        thread.join(30)
    assert set(stopped) == {0, 1, 2} and len(set(stopped.values())) == 1 and stopped[0] > 20
    assert {peer.asked_by for peer in peers} == {"SIGTERM to process 2"}
    for peer in peers:
        peer.close()


REFUSED = {
    "no coordinator": (
        Devices(processes=2, process=0),
        "train",
        "give config.devices.coordinator=HOST:PORT",
    ),
    "no number": (
        Devices(processes=2, coordinator="host:1"),
        "train",
        "and config.devices.process",
    ),
    "evaluating": (
        Devices(processes=2, process=0, coordinator="host:1"),
        "evaluate",
        "--mode=evaluate runs in one",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_met_is_refused_by_name(name):
    devices, mode, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        process_group.join(devices, mode)


def test_alone_nothing_is_started():
    before = threading.active_count()
    assert process_group.join(Devices(), "train") is process_group.SINGLE_PROCESS
    assert process_group.join(Devices(processes=1), "train") is process_group.SINGLE_PROCESS
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "field, value", [("process", 2), ("process", -2), ("coordinator", "host"), ("timeout_s", 1)]
)
def test_values_out_of_range_are_refused_by_name(field, value):
    config = Config()
    config.devices.processes = 2
    setattr(config.devices, field, value)
    with pytest.raises(InputError, match=f"config.devices.{field}="):
        check(config)


ENVIRONMENTS = [
    ({}, False),
    (
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"},
        False,
    ),  # the batch script itself: srun has not been called
    ({"SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "node[1-4]"}, True),
    ({"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "node1"}, False),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}, True),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, False),  # no chips
]


@pytest.mark.parametrize("environment, several", ENVIRONMENTS)
def test_what_the_cluster_says(environment, several):
    assert process_group._several(environment) == several
    assert not process_group._on_tpu(environment)


@pytest.fixture
def tpu_asked_for():
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "tpu,cpu")
    yield
    jax.config.update("jax_platforms", before)


def test_on_a_cloud_tpu(tpu_asked_for):
    machine = {"TPU_ML_PLATFORM": "JAX"}
    assert process_group._on_tpu(machine) and not process_group._several(machine)
    assert process_group._several(machine | {"TPU_WORKER_HOSTNAMES": "a,b"})
    assert not process_group._on_tpu(machine | {"TPU_SKIP_MDS_QUERY": "1"})
