"""One process on a full disk: one line that says so, status 1, and nothing half-written."""

import json

import pytest
from support.made_runs import made_run
from support.process_jobs import Job
from support.small_disk import SmallDisk

pytestmark = pytest.mark.slow
BLOCK = 4096
MODES = ("evaluate", "predict", "export", "report", "probe")


@pytest.fixture
def disk(tmp_path):
    with SmallDisk(tmp_path, megabytes=12) as made:
        yield made


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def told_once(status, err):
    assert status == 1, err
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1 and lines[0].startswith("stopped: "), err
    assert "no space left on" in lines[0].lower(), err


# The first has no room for a file's contents, the last one for a few checkpoints.
@pytest.mark.parametrize("blocks", [0, 1, 2, 8, 300])
def test_training(compilation_cache, small_run, disk, tmp_path, blocks):
    disk.fill(but=blocks * BLOCK)
    flags = (
        *small_run,
        "--config.train.steps=1000",
        "--config.train.eval_every=4",
        "--config.train.log_every=1",
        "--config.checkpoint.keep=1000",
        "--config.train.profile=2:3",
    )
    workdir = tmp_path / "run"
    ((status, _, err),) = Job(compilation_cache, workdir, 1, *flags, prefix=disk.prefix).end()
    told_once(status, err)
    seen = disk.seen_from_here / "run"
    left = files(seen) if seen.exists() else set()
    assert not [name for name in left if name.endswith(".part") or ".saving" in name], left
    if "metrics.jsonl" in left:
        for line in (seen / "metrics.jsonl").read_text().splitlines(keepends=True):
            assert json.loads(line) and line.endswith("\n")
    # With room the same command resumes.
    disk.make_room()
    done = max([int(path.name) for path in (seen / "checkpoints").glob("[0-9]*")], default=0)
    last = f"--config.train.steps={done + 4}"
    ((status, _, err),) = Job(
        compilation_cache,
        workdir,
        1,
        *flags,
        last,
        "--config.checkpoint.keep=1",
        prefix=disk.prefix,
    ).end()
    assert status == 0, err


@pytest.mark.parametrize("mode", MODES)
def test_other_modes_leave_the_run_as_it_was(compilation_cache, small_data, disk, tmp_path, mode):
    seen = disk.seen_from_here / "run"
    made_run(seen, small_data)
    before = files(seen)
    for blocks in (0, 1):
        disk.fill(but=blocks * BLOCK)
        job = Job(compilation_cache, tmp_path / "run", 1, f"--mode={mode}", prefix=disk.prefix)
        ((status, _, err),) = job.end()
        told_once(status, err)
        # Scores that were kept are complete, and used the next time.
        assert {name for name in files(seen) - before if not name.startswith("scores/")} == set()
        disk.make_room()
