"""`~` is home wherever a path is given; a bucket is a URL, and any other URL is refused."""

import os
from pathlib import Path

import pytest

from hpa_jax.config import Config, expand_paths
from hpa_jax.environment.paths import expand_path, local_path, path_flag
from hpa_jax.errors import InputError

URLS = ("s3://b/x", "https://host/x", "file:///tmp/x")


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_home_and_spaces(home):
    assert local_path("~/my runs/a") == home / "my runs" / "a"
    assert expand_path("~") == str(home)
    assert expand_path("~root/x") == os.path.expanduser("~root") + "/x"
    for same in ("", "runs/a", "/runs/a~", "./~", "runs/~", "a:b/c", "C:/x"):
        assert expand_path(same) == same


@pytest.mark.parametrize("url", URLS)
def test_urls_are_refused_by_name(url):
    for given in (url, Path(url)):
        with pytest.raises(InputError, match="--out=.*: neither a local path nor gs://"):
            local_path(given, "--out")


def test_a_home_that_is_not_known_is_refused(monkeypatch):
    with pytest.raises(InputError, match="~no_such_user is not known"):
        expand_path("~no_such_user/x", "--workdir")
    # What Python makes of a byte that the encoding of file names lacks.
    with pytest.raises(InputError, match="not UTF-8"):
        expand_path(os.fsdecode(b"caf\xe9"), "--workdir")
    assert expand_path("caf\u00e9") == "caf\u00e9"
    with pytest.raises(InputError, match="zero byte"):
        expand_path("a\0b", "--workdir")
    with pytest.raises(InputError, match="--to=gs:.*takes no bucket here"):
        path_flag("--to")("gs://bucket")
    # "$HERE", which is not set; it would be the current folder.
    with pytest.raises(InputError, match="--to is empty"):
        path_flag("--to")("")


def test_every_path_of_a_configuration_is_expanded(home):
    config = Config()
    config.data.data_dir = "~/data"
    config.model.pretrained = "~/weights.pth"
    config.evaluate.scores = "~/s.npy, ~/t.npy"
    config.evaluate.targets = "~/t.npy"
    config.evaluate.groups = "~/g.npy"
    config.evaluate.runs = "runs/a,~/b"
    config.export.folder = "~/export"
    config.report.compare = "~/c"
    found = expand_paths(config)
    assert found.data.data_dir == f"{home}/data"
    assert found.model.pretrained == f"{home}/weights.pth"
    assert found.evaluate.scores == f"{home}/s.npy,{home}/t.npy"
    assert found.evaluate.targets == f"{home}/t.npy"
    assert found.evaluate.groups == f"{home}/g.npy"
    assert found.evaluate.runs == f"runs/a,{home}/b"
    assert found.export.folder == f"{home}/export"
    assert found.report.compare == f"{home}/c"
    # The one that was given is not changed.
    assert config.data.data_dir == "~/data"


def test_a_place_in_a_bucket_stays_a_url():
    for given in ("gs://bucket/runs/a/", "gs:/bucket/runs/a", Path("gs://bucket/runs/a")):
        assert expand_path(given, "--workdir") == "gs://bucket/runs/a"
    config = Config()
    config.data.data_dir = "gs://bucket/data"
    config.evaluate.runs = "gs://bucket/a,runs/b"
    found = expand_paths(config)
    assert found.data.data_dir == "gs://bucket/data"
    assert found.evaluate.runs == "gs://bucket/a,runs/b"


@pytest.mark.parametrize(
    "url",
    ["gs://", "gs://B/x", "gs://bucket/a//b", "gs://bucket/a/../b", "gs://bucket/a?b", "gs://b"],
)
def test_what_is_no_place_in_a_bucket_is_refused(url):
    with pytest.raises(InputError, match="--out=gs:"):
        expand_path(url, "--out")
