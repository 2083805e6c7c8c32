"""Where caches go, with and without a home."""

import os
import tempfile

import pytest

from hpa_jax.environment.cache_folder import cache_folder
from hpa_jax.errors import InputError


@pytest.fixture
def no_home(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    # As expanduser leaves it for a numeric user without HOME.
    monkeypatch.setenv("HOME", "~")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"hpa_jax-{os.getuid()}"


def test_the_home_and_the_folder_that_the_user_names(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "hpa_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "hpa_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder() == tmp_path / ".cache" / "hpa_jax"


def test_without_a_home_it_is_a_folder_that_no_other_user_can_write(no_home):
    assert cache_folder() == no_home
    assert no_home.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == no_home


def test_a_folder_that_somebody_else_could_have_filled_is_not_used(no_home):
    no_home.mkdir()
    no_home.chmod(0o777)
    with pytest.raises(InputError, match="not this user's alone"):
        cache_folder()
    no_home.rmdir()
    no_home.symlink_to("/")
    with pytest.raises(InputError, match="not this user's alone"):
        cache_folder()


def test_without_a_temporary_folder_either(no_home, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with pytest.raises(InputError, match="No such file or directory"):
        cache_folder()
