"""launch/tpu_vm.sh: what each end of a run leads to."""

import pytest

from hpa_jax.parallel.group_health import RESTART_HINT

LOST = f"process 0: stopped: process 1 (b) gave no sign of life for 60 s{RESTART_HINT}"


def ends_in_turn(folder, *statuses):
    """A command that ends with these statuses, one a start, on every worker.

    The folder is one that all workers share.
    """
    count = 'count=$0-$(basename "$HOME"); echo >>"$count"'
    line = f'{count}; shift $(($(wc -l <"$count") - 1)); exit $1'
    return ["bash", "-c", line, str(folder / "starts"), *map(str, statuses)]


def dies(folder, times, own="kill -9 $$"):
    """A command that ends so many times, on worker 1 as `own` says, on worker 0 since 1 is lost."""
    count = f'{folder}/$(basename "$HOME")'
    line = (
        f"echo >>{count}; [ $(wc -l <{count}) -le {times} ] || exit 0; "
        f'[ "$(basename "$HOME")" = 0 ] || {{ {own}; }}; '
        f'echo "{LOST}" >&2; exit 1'
    )
    return ["bash", "-c", line]


def test_status_75_starts_again_on_the_same_slice(cloud, tmp_path):
    cloud.plan(workers=2)
    found = cloud.run("--", *ends_in_turn(tmp_path, 75, 75, 0))
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "install", "start", "start", "start"]
    # Each line of the log is shown once.
    assert found.stdout.count("=== ") == 6
    assert found.stdout.count("exit status 75") == 2


@pytest.mark.parametrize("status", [1, 2, 137])
def test_other_statuses_are_passed_on(cloud, tmp_path, status):
    cloud.plan(workers=2)
    found = cloud.run("--", *ends_in_turn(tmp_path, status, 0))
    assert found.returncode == status
    assert cloud.did() == ["create", "install", "start"]


def test_restarts_have_an_end(cloud):
    found = cloud.run("--max-restarts=2", "--", "bash", "-c", "exit 75")
    assert found.returncode == 1
    assert "giving up" in found.stderr
    assert cloud.did("start") == ["start"] * 3


def test_a_run_that_a_reboot_took_is_started_again(cloud, tmp_path):
    # The supervisor dies without a word, as it does when the machine goes down.
    die = f"[ -e {tmp_path}/before ] || {{ touch {tmp_path}/before; kill -9 $PPID; exit 1; }}"
    found = cloud.run("--", "bash", "-c", die)
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "install", "start", "start"]


def test_a_run_of_which_a_process_died_is_started_again(cloud, tmp_path):
    cloud.plan(workers=2)
    found = cloud.run("--", *dies(tmp_path, 2))
    assert found.returncode == 0, found.stderr
    assert cloud.did() == ["create", "install", "start", "start", "start"]


def test_deaths_have_an_end(cloud, tmp_path):
    cloud.plan(workers=2)
    found = cloud.run("--max-losses=1", "--", *dies(tmp_path, 9))
    assert found.returncode == 1
    assert "died or hung for time 2 (--max-losses): giving up" in found.stderr
    assert cloud.did("start") == ["start"] * 2


@pytest.mark.parametrize(("own", "status"), [("exit 2", 2), ("exit 1", 1)])
def test_a_process_with_a_reason_of_its_own_is_not_started_again(cloud, tmp_path, own, status):
    cloud.plan(workers=2)
    found = cloud.run("--", *dies(tmp_path, 9, own))
    assert found.returncode == status
    assert cloud.did("start") == ["start"]


def test_workers_left_behind_by_one_that_failed_are_ended(cloud):
    cloud.plan(workers=2)
    line = '[ "$(basename "$HOME")" = 0 ] && exit 7; exec sleep 100'
    found = cloud.run("--", "bash", "-c", line)
    assert found.returncode == 7
    assert cloud.did() == ["create", "install", "start", "kill"]
