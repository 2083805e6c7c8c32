"""A training that does not fit into memory is refused in one line, by all its processes."""

import pytest


def limited(gigabytes: int) -> tuple[str, ...]:
    """Words before a command that give it so much memory."""
    return ("bash", "-c", f'ulimit -v {gigabytes}000000 && exec "$@"', "bash")


def refused(status: int, err: str) -> str:
    """The only line of a process that was refused."""
    assert status == 2, err
    (line,) = err.splitlines()
    return line


def test_batches_that_do_not_fit_are_refused_before_anything_is_compiled(job, tmp_path):
    # 0.27 GB an image.
    one = job(tmp_path, 1, "--config.data.image_size=8192", prefix=limited(8))
    ((status, _, err),) = one.end()
    line = refused(status, err)
    assert line.startswith("error: keeping batches ahead needs "), line
    assert "left of ulimit -v; try a smaller config.data.batch_size (now 8) with" in line


@pytest.mark.slow
def test_a_step_that_does_not_fit_is_refused_before_it_runs(job, tmp_path):
    """The compiled program decides: there is room for the batches, not for the step."""
    one = job(tmp_path, 1, "--config.data.image_size=3072", prefix=limited(6))
    ((status, _, err),) = one.end()
    line = refused(status, err)
    assert line.startswith("error: a training step"), line
    assert "left of ulimit -v" in line


@pytest.mark.slow
def test_one_process_that_does_not_fit_ends_all_with_its_reason(job, tmp_path):
    two = job(tmp_path, 2, "--config.data.image_size=8192", prefixes={1: limited(6)})
    (first, _, first_err), (second, _, second_err) = two.end()
    assert second == 2
    assert "process 1: error: keeping batches ahead needs " in second_err
    assert first == 1
    assert "keeping batches ahead needs " in first_err.splitlines()[-1]
