"""A disk that is full ends all processes of a run for that reason; nobody starts them again."""

import shutil

import pytest
from support.process_jobs import starts_again, stopped_line
from support.small_disk import SmallDisk

pytestmark = pytest.mark.slow
ENDLESS = (
    "--config.train.steps=100000",
    "--config.train.eval_every=1000",
    "--config.train.log_every=1000",
    "--config.devices.timeout_s=30",
    "--config.checkpoint.every=2",
    "--config.checkpoint.keep=1000",
)


@pytest.fixture
def disk(tmp_path):
    """A file system of two megabytes, which a few saves fill."""
    with SmallDisk(tmp_path, megabytes=2) as made:
        yield made


def test_a_save_that_does_not_fit_ends_both_with_that_reason(job, disk, tmp_path):
    workdir = tmp_path / "run"
    seen = disk.seen_from_here / "run"
    two = job(workdir, 2, *ENDLESS, prefix=disk.prefix)
    ended = two.end()
    for status, _, err in ended:
        assert status == 1, err
        line = stopped_line(err)
        assert "no space left on" in line and "could not be written" in line, err
        assert "Traceback" not in err
        assert not starts_again(err)
    steps = [int(path.name) for path in (seen / "checkpoints").iterdir()]
    assert f"the last complete checkpoint is step {max(steps)}" in ended[0][2]
    # Once there is room, the same command resumes.
    for step in sorted(steps)[:-1]:
        shutil.rmtree(seen / "checkpoints" / str(step))
    last = ("--config.checkpoint.keep=1", f"--config.train.steps={max(steps) + 4}")
    resumed = job(workdir, 2, *ENDLESS, *last, prefix=disk.prefix).end()
    assert [status for status, _, _ in resumed] == [0, 0], resumed
    assert f"resuming at step {max(steps)} of" in resumed[0][1]


@pytest.mark.parametrize("free", [0, 1])
def test_a_disk_that_is_full_at_the_start_ends_both(job, disk, tmp_path, free):
    """With no room for a file, or only for the smallest ones."""
    disk.fill(but=free * 4096)
    two = job(tmp_path / "run", 2, *ENDLESS, prefix=disk.prefix)
    for status, _, err in two.end():
        assert status == 1, err
        assert "no space left on" in stopped_line(err).lower()
        assert "Traceback" not in err
        assert not starts_again(err)


def test_folders_that_are_not_one_end_both_and_nobody_starts_them_again(job, disk, tmp_path):
    """Each host has a folder of that name."""
    workdir = tmp_path / "run"
    two = job(workdir, 2, *ENDLESS, prefixes={1: disk.prefix})
    ended = two.end()
    for status, _, err in ended:
        assert status in (1, 2), err
        assert "process 1 (" in err and "does not see in --workdir" in err, err
        assert len(err.splitlines()) == 1 and not starts_again(err)
    # One that is told of it by the other one's end has 1.
    assert 2 in [status for status, _, _ in ended]
    assert list(workdir.iterdir()) == []
