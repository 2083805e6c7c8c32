"""Weights as people have them: behind a prefix, inside a checkpoint, in several files."""

import json

import pytest
import torch
from pretrained.test_torch import assert_equal, drawn, load, monai_net, torchvision_keys
from safetensors.torch import save_file

from hpa_jax import pretrained
from hpa_jax.errors import InputError


@pytest.fixture(scope="module")
def state():
    """Tensors under torchvision's keys."""
    return torchvision_keys(monai_net("densenet_tiny"))


@pytest.fixture(scope="module")
def plain(state, tmp_path_factory):
    """What a file without any wrapping gives."""
    path = tmp_path_factory.mktemp("plain") / "plain.safetensors"
    save_file(state, path)
    return load(path)


def with_prefix(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


def load_and_describe(path):
    variables = drawn("densenet_tiny")
    return pretrained.load_described(
        str(path), net="densenet_tiny", variables=variables, stem="copy_red"
    )


@pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "_orig_mod.module.", "a.b.c."])
def test_a_prefix_of_all_keys_is_taken_off_and_told(tmp_path, state, plain, prefix):
    path = tmp_path / "wrapped.safetensors"
    save_file(with_prefix(state, prefix), path)
    found, loaded = load_and_describe(path)
    assert_equal(found, plain)
    assert loaded.prefix == prefix and loaded.to_dict()["prefix"] == prefix
    assert f"{prefix!r}, with which all keys begin, was taken off" in str(loaded)
    assert loaded.head == "taken"


def test_what_all_keys_of_the_net_share_is_no_prefix(tmp_path, state, plain):
    headless = {key: state[key] for key in state if not key.startswith("classifier")}
    save_file(headless, tmp_path / "headless.safetensors")
    found, loaded = load_and_describe(tmp_path / "headless.safetensors")
    assert loaded.prefix == "" and "taken off" not in str(loaded)
    assert_equal(found["params"]["backbone"], plain["params"]["backbone"])


def test_a_prefix_of_some_keys_is_refused_by_name(tmp_path, state):
    mixed = with_prefix(state, "model.") | {"criterion.weight": torch.ones(3)}
    save_file(mixed, tmp_path / "mixed.safetensors")
    with pytest.raises(InputError, match=r"begin with 'model\.', and 'criterion.weight' does not"):
        load_and_describe(tmp_path / "mixed.safetensors")
    halves = with_prefix(state, "a.") | with_prefix(state, "b.")
    torch.save(halves, tmp_path / "two.pth")
    with pytest.raises(InputError, match="is missing"):
        load_and_describe(tmp_path / "two.pth")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "weights"])
def test_the_weights_in_a_checkpoint_of_a_training(tmp_path, state, plain, key):
    checkpoint = {
        "epoch": 3,
        key: with_prefix(state, "model."),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        "hyper_parameters": {"lr": 0.1, "name": "densenet"},
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    found, loaded = load_and_describe(tmp_path / "last.ckpt")
    assert_equal(found, plain)
    assert (loaded.inside, loaded.prefix) == (key, "model.")
    assert f"under {key!r} in the file" in str(loaded)


def test_a_checkpoint_in_which_weights_cannot_be_told_is_refused(tmp_path, state):
    torch.save({"epoch": 3, "student": state, "teacher": state}, tmp_path / "two.ckpt")
    with pytest.raises(InputError, match="'epoch' is no tensor"):
        load_and_describe(tmp_path / "two.ckpt")


@pytest.fixture
def sharded(tmp_path, state):
    """A folder with the weights in two files, and their index."""
    keys = list(state)
    parts = {"model-00001-of-00002.safetensors": keys[:30]}
    parts["model-00002-of-00002.safetensors"] = keys[30:]
    places = {}
    for name, own in parts.items():
        save_file({key: state[key] for key in own}, tmp_path / name)
        places |= dict.fromkeys(own, name)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


def test_weights_in_several_files(sharded, plain):
    for source in (sharded, sharded / "model.safetensors.index.json"):
        found, loaded = load_and_describe(source)
        assert_equal(found, plain)
        assert list(loaded.parts) == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        assert all(len(digest) == 64 for digest in loaded.parts.values())
        assert "from 2 files" in str(loaded)


def changed_index(folder, **places):
    path = folder / "model.safetensors.index.json"
    content = json.loads(path.read_text())
    content["weight_map"] |= places
    path.write_text(json.dumps(content))


def test_a_file_that_an_index_names_is_missing(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="model-00002-of-00002.safetensors .* is not beside it"):
        load_and_describe(sharded)


@pytest.mark.parametrize("place", ["../other.safetensors", "/etc/passwd", 3, "a.index.json"])
def test_an_index_leads_nowhere_else(sharded, place):
    changed_index(sharded, extra=place)
    with pytest.raises(InputError, match="which is no file beside it"):
        load_and_describe(sharded)


def test_an_index_that_lies_is_refused(sharded):
    changed_index(sharded, extra="model-00001-of-00002.safetensors")
    with pytest.raises(InputError, match="has no 'extra', which .* says is in it"):
        load_and_describe(sharded)
    (sharded / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(InputError, match="has no weight_map"):
        load_and_describe(sharded)
