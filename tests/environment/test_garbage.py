"""The collector of garbage is paused while a program starts, and only then."""

import gc

import pytest

from hpa_jax.environment.garbage import pause_collection, resume_collection, without_collection
from hpa_jax.errors import EXIT_BAD_INPUT
from hpa_jax.main import main


@pytest.fixture(autouse=True)
def collector():
    yield
    gc.unfreeze()
    gc.enable()


def test_what_is_there_at_the_end_of_a_pause_is_never_looked_through():
    pause_collection()
    assert not gc.isenabled()
    resume_collection()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_a_collector_that_somebody_else_has_disabled_stays_so():
    gc.disable()
    pause_collection()
    resume_collection()
    assert not gc.isenabled()
    with without_collection():
        pass
    assert not gc.isenabled()


def test_tracing_goes_without_and_a_pause_lasts_longer_than_that():
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    pause_collection()
    with without_collection():
        pass
    assert not gc.isenabled()
    resume_collection()


def test_modes_that_do_not_train_collect_once_they_begin(tmp_path):
    pause_collection()
    assert main(["--mode=verify", f"--workdir={tmp_path}"]) == EXIT_BAD_INPUT
    assert gc.isenabled()
