"""The quota of control groups of both versions, as files."""

import math

import pytest

from hpa_jax.environment import cores


def limits(root, files):
    for name, text in files.items():
        path = root / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    "process, files, expected",
    [
        pytest.param("0::/", {"cpu.max": "max 100000"}, math.inf, id="no limit"),
        pytest.param("0::/", {"cpu.max": "150000 100000"}, 1.5, id="version 2"),
        pytest.param(
            "0::/a/b",
            {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"},
            2,
            id="a limit of the group above",
        ),
        pytest.param(
            "4:cpu,cpuacct:/a\n0::/",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000", "cpu,cpuacct/a/cpu.cfs_period_us": "20000"},
            2.5,
            id="version 1",
        ),
        pytest.param(
            "1:cpu:/docker/outside",
            {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"},
            3,
            id="version 1 in a container",
        ),
        pytest.param(
            "1:cpu:/",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            math.inf,
            id="version 1 without a limit",
        ),
        pytest.param("3:memory:/\nrubbish", {"cpu.max": "1 1"}, math.inf, id="other groups"),
        pytest.param("0::/", {"cpu.max": "rubbish"}, math.inf, id="rubbish"),
        pytest.param("0::/", {}, math.inf, id="no files"),
    ],
)
def test_the_smallest_quota_counts(tmp_path, process, files, expected):
    (tmp_path / "cgroup").write_text(process + "\n", encoding="utf-8")
    limits(tmp_path, files)
    assert cores.cpu_quota(tmp_path / "cgroup", tmp_path / "groups") == expected


def test_no_groups_at_all(tmp_path):
    assert cores.cpu_quota(tmp_path / "nothing", tmp_path) == math.inf


@pytest.mark.parametrize("quota, expected", [(0.5, 1), (1.9, 1), (math.inf, 3), (64, 3)])
def test_no_more_threads_than_the_quota_has_time_for(monkeypatch, quota, expected):
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    assert cores.available_cores() == expected
