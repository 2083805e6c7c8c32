"""Checkpoints: what is saved is restored, and how a step comes, is kept and goes."""

import json
import os
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from support.made_checkpoints import (
    DATASETS,
    METRIC,
    METRICS,
    RUN,
    equal,
    made_state,
    opened,
    save_steps,
)

from hpa_jax.errors import InputError, RunStopped
from hpa_jax.training import manifest
from hpa_jax.training.manifest import DamagedCheckpoint


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_a_step_is_restored_with_all_that_is_recorded_of_it(tmp_path):
    save_steps(tmp_path, (2,))
    checkpoints = opened(tmp_path)
    restored = checkpoints.restore(2, made_state(9))
    assert equal(restored, made_state(2)) and restored.average is None
    assert checkpoints.position(2) == 16 and checkpoints.metrics(2) == METRICS[2]
    assert checkpoints.datasets(2) == DATASETS
    written = json.loads((tmp_path / "2" / "manifest.json").read_text())
    assert (written["run"], written["step"], written["format"]) == (RUN, 2, 1)
    assert written["arrays"]["opt_state/1/0"]["dtype"] == "bfloat16"
    # The net, two moments, the count of steps and the optimizer's own.
    assert written["arrays"].keys() == {
        "step",
        *(f"params/conv{layer}/kernel" for layer in range(3)),
        "opt_state/0",
        "opt_state/1/0",
        "opt_state/1/1",
    }
    assert checkpoints.verify(2).num_bytes() == 3 * 3 * 3 * 8 * 16 * 4 + 64 * 9 * 2 + 4 * 4 + 8


def test_the_latest_and_the_best_are_kept_and_the_best_is_chosen(tmp_path):
    save_steps(tmp_path, (1, 2, 3, 4, 5), keep=2)
    assert names(tmp_path) == ["2", "4", "5"]
    checkpoints = opened(tmp_path)
    assert (checkpoints.choose("best"), checkpoints.choose("latest")) == (2, 5)
    newest = json.loads((tmp_path / "5" / "manifest.json").read_text())
    assert newest["best"] == {"metric": METRIC, "value": 0.5, "step": 2}
    with pytest.raises(InputError, match="'3' is not in .*; there are: 2, 4, 5"):
        checkpoints.choose("3")


def test_a_step_is_replaced_by_one_of_the_same_number(tmp_path):
    save_steps(tmp_path, (1, 2))
    checkpoints = opened(tmp_path, keep=2)
    first = checkpoints.written(2)
    checkpoints.save(2, made_state(7), 99, {METRIC: 0.9})
    checkpoints.close()
    again = opened(tmp_path)
    assert equal(again.restore(2, made_state(0)), made_state(7))
    assert again.position(2) == 99 and again.written(2) != first
    assert names(tmp_path) == ["1", "2"]


def test_what_a_killed_process_left_is_put_in_order_and_nothing_else_is_touched(tmp_path):
    save_steps(tmp_path)
    os.rename(tmp_path / "3", tmp_path / "3.replaced")
    shutil.copytree(tmp_path / "2", tmp_path / "2.replaced")
    ours = ("4.saving", "4.saving.orbax-checkpoint-tmp", "1.deleting", "5.orbax-checkpoint-tmp")
    theirs = ("notes.saving", "007", "2.damaged", "old.orbax-checkpoint-tmp")
    for name in (*ours, *theirs):
        (tmp_path / name).mkdir()
    opened(tmp_path)
    assert set(ours) < set(names(tmp_path))  # who only reads leaves all as it is
    checkpoints = opened(tmp_path, keep=2)
    assert names(tmp_path) == sorted(["1", "2", "3", *theirs])
    assert checkpoints.latest() == 3


def test_sharded_arrays_are_digested_in_pieces_that_are_the_same_on_other_devices(tmp_path):
    devices = np.array(jax.devices())
    values = jnp.arange(8 * 6, dtype=jnp.float32).reshape(8, 6)
    mesh = Mesh(devices[:4].reshape(2, 2), ("a", "b"))
    sharded = jax.device_put(values, NamedSharding(mesh, P("a")))
    pieces = manifest.own_pieces(sharded, is_primary=True)
    assert [piece.start for piece in pieces] == [(0, 0), (4, 0)]
    state = made_state(1).replace(params={"w": sharded})
    checkpoints = opened(tmp_path, keep=1)
    checkpoints.save(1, state, 0)
    checkpoints.close()
    elsewhere = NamedSharding(Mesh(devices[:3], "a"), P(None, "a"))
    for sharding in (elsewhere, NamedSharding(mesh, P("b", "a")), NamedSharding(mesh, P())):
        target = state.replace(params={"w": jax.device_put(jnp.zeros_like(values), sharding)})
        restored = opened(tmp_path).restore(1, target)
        assert restored.params["w"].sharding == sharding
        assert np.array_equal(restored.params["w"], values)


def test_each_process_answers_for_its_pieces_and_together_they_are_the_array():
    whole = np.arange(12, dtype=np.float32).reshape(4, 3)
    top = manifest.describe("w", whole, [manifest.Piece((0, 0), whole[:2])])
    bottom = manifest.describe("w", whole, [manifest.Piece((2, 0), whole[2:])])
    merged = manifest.merge([{"w": bottom}, {"w": top}])
    assert [piece["start"] for piece in merged["w"]["pieces"]] == [[0, 0], [2, 0]]
    with pytest.raises(ValueError, match="of w are not those of the entire array"):
        manifest.merge([{"w": top}])
    # The same values by another name, or in another place, have another digest.
    other = manifest.describe("v", whole, [manifest.Piece((0, 0), whole[:2])])
    moved = manifest.describe("w", whole, [manifest.Piece((2, 0), whole[:2])])
    digests = {entry["pieces"][0]["sha256"] for entry in (top, bottom, other, moved)}
    assert len(digests) == 4


def test_a_save_that_fails_in_the_background_is_told_at_once_and_leaves_nothing(tmp_path):
    save_steps(tmp_path, (1,))
    checkpoints = opened(tmp_path, keep=2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = made_state(2).replace(
        average={"w": jnp.asarray(np.random.default_rng(0).random(200_000))}
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        checkpoints.save(2, big, 16)
        checkpoints._thread.join()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = checkpoints.failure()
    with pytest.raises(RunStopped) as stopped:
        checkpoints.check()
    text = str(stopped.value)
    assert text == told and opened(tmp_path).failure() == ""
    assert "File too large" in text and "\n" not in text
    assert "the last complete checkpoint is step 1; start again to resume" in text
    assert names(tmp_path) == ["1"]
    checkpoints.close()


def test_something_else_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    for keep in (None, 2):
        with pytest.raises(InputError, match="checkpoints cannot be read .*put it back"):
            opened(tmp_path / "checkpoints", keep=keep)
    assert opened(tmp_path / "none").latest() is None
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="there are: none; train first"):
        opened(tmp_path / "none").choose("best")


def test_a_step_of_other_settings_is_not_damaged_but_refused(tmp_path):
    save_steps(tmp_path, (1,))
    checkpoints = opened(tmp_path)
    wider = made_state(1).replace(step=jnp.zeros((2,), jnp.int32))
    lacking = made_state(1).replace(average={"w": jnp.zeros(3)})
    for state, what in ((wider, r"step of shape \(\), not \(2,\)"), (lacking, "no average/w")):
        with pytest.raises(InputError, match=f"has {what}: .*other settings") as refused:
            checkpoints.restore_newest(state)
        assert not isinstance(refused.value, DamagedCheckpoint)
    assert names(tmp_path) == ["1"]
