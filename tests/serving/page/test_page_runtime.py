"""onnxruntime-web: from npm, from a file, from the cache; and never another one."""

import os
import stat

import pytest

from hpa_jax.environment.cache_folder import cache_folder
from hpa_jax.errors import InputError
from hpa_jax.serving.page import runtime as module
from hpa_jax.serving.page.runtime import ARCHIVE, load_runtime


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """A cache of this test's own, and a PATH with programs of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return tmp_path / "cache" / "hpa_jax" / "onnxruntime-web" / ARCHIVE


def write_npm(script):
    path = os.path.join(os.environ["PATH"], "npm")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\n{script}\n")
    os.chmod(path, stat.S_IRWXU)


def test_it_is_a_module_and_a_program_of_its_version(runtime):
    assert f"ONNX Runtime Web v{module.VERSION}".encode() in runtime.script[:200]
    assert b"sourceMappingURL" not in runtime.script
    assert runtime.wasm.startswith(b"\0asm")


def test_a_file_of_ones_own_is_as_good(runtime, empty_cache, monkeypatch):
    monkeypatch.undo()
    kept = cache_folder() / "onnxruntime-web" / ARCHIVE
    assert load_runtime(kept) == runtime


def test_without_npm_it_says_what_to_do(empty_cache):
    with pytest.raises(InputError, match="there is no npm here: install Node.js, or run `npm pack"):
        load_runtime()


def test_another_package_is_refused(empty_cache, tmp_path):
    other = tmp_path / "other.tgz"
    other.write_bytes(b"something else")
    with pytest.raises(InputError, match="is not onnxruntime-web@.*its SHA-256 is another"):
        load_runtime(other)
    with pytest.raises(InputError, match="cannot be read"):
        load_runtime(tmp_path / "none.tgz")
    # A registry may be a mirror that was tampered with.
    write_npm(
        "for word; do case $word in --pack-destination=*) "
        f'echo x > "${{word#*=}}/{ARCHIVE}";; esac; done'
    )
    with pytest.raises(InputError, match="npm fetched another"):
        load_runtime()
    assert not empty_cache.exists()


def test_what_npm_says_is_passed_on_in_one_line(empty_cache):
    lines = "npm error code E404\\nnpm error 404 Not Found\\nnpm error more\\n"
    write_npm(f"printf '{lines}' >&2; exit 1")
    with pytest.raises(InputError, match=r"npm could not fetch .* \(404 Not Found\)") as caught:
        load_runtime()
    assert "\n" not in str(caught.value)


def test_a_cache_that_was_changed_is_not_used(empty_cache):
    empty_cache.parent.mkdir(parents=True)
    empty_cache.write_bytes(b"changed")
    with pytest.raises(InputError, match="there is no npm here"):
        load_runtime()
