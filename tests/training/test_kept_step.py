"""A traced step that is kept: the same step, found again, and never one of something else."""

import copy
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hpa_jax.config import Config, settings_of_steps
from hpa_jax.parallel.mesh import make_mesh, put_batch, put_replicated
from hpa_jax.training.kept_step import keep_traced, trace_key
from hpa_jax.training.state import new_state
from hpa_jax.training.update import Objective, make_update_step


def linear_loss(variables, images, step, key):
    """Of one linear layer with dropout, whose statistics move as those of a batch norm do."""
    kept = jax.random.bernoulli(key, 0.5, images.shape)
    mean = jnp.mean(images, axis=0)
    logits = (images * kept - mean) @ variables["params"]["kernel"]
    moved = 0.9 * variables["batch_stats"]["mean"] + 0.1 * mean
    return jnp.mean(jnp.square(logits)), ({"norm": jnp.std(logits)}, {"mean": moved})


class CountedStep:
    """A training step of one layer on two devices, which counts how often it is traced."""

    def __init__(self):
        self.mesh = make_mesh(jax.devices()[:2], 1)
        self.optimizer = optax.adam(0.1)
        self.traced = 0
        objective = Objective(lambda batch, key: batch["image"] / 255.0, linear_loss)
        self._update = make_update_step(objective, self.optimizer, seed=3, average_decay=0.9)

    def jitted(self):
        def train_step(state, batch):
            self.traced += 1
            return self._update(state, batch)

        return jax.jit(train_step)

    def state(self):
        kernel = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
        variables = {
            "params": {"kernel": kernel},
            "batch_stats": {"mean": np.zeros(5, np.float32)},
        }
        return put_replicated(new_state(variables, self.optimizer, average=True), self.mesh)

    def batch(self):
        images = np.random.default_rng(0).integers(0, 256, (8, 5), np.uint8)
        return put_batch({"image": images}, self.mesh)

    def keep(self, folder, key="k"):
        return keep_traced(self.jitted(), self.state(), self.batch(), key=key, folder=folder)


@pytest.fixture(scope="module")
def counted():
    return CountedStep()


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def first(counted, tmp_path_factory):
    """The folder that a first start leaves, and what its step returned."""
    folder = tmp_path_factory.mktemp("first") / "traced"
    step = counted.keep(folder)
    assert counted.traced == 1
    return folder, jax.device_get(step(counted.state(), counted.batch()))


def test_a_kept_step_is_the_step_itself(counted, first):
    _, (state, metrics) = first
    plain_state, plain_metrics = counted.jitted()(counted.state(), counted.batch())
    assert jax.tree.structure(state) == jax.tree.structure(plain_state)
    assert metrics.keys() == plain_metrics.keys()
    for kept, plain in zip(
        leaves((state, metrics)), leaves((plain_state, plain_metrics)), strict=True
    ):
        np.testing.assert_allclose(kept, plain, rtol=1e-6)
    assert int(state.step) == 1 and metrics["norm"] > 0


def test_a_second_start_does_not_trace_and_has_the_same_program(counted, first):
    folder, result = first
    before = counted.traced
    step = counted.keep(folder)
    state = counted.state()
    assert counted.traced == before
    again = step(state, counted.batch())
    for one, other in zip(leaves(result), leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert jax.tree.leaves(state.params)[0].is_deleted(), "the state is donated"
    # Two starts that trace have two programs, as the names of lines differ.
    texts = [counted.keep(folder).lower(counted.state(), counted.batch()).as_text() for _ in "ab"]
    assert texts[0] == texts[1]


def flip_a_byte(data):
    return data[:-100] + bytes([data[-100] ^ 1]) + data[-99:]


@pytest.mark.parametrize(
    "damage",
    [flip_a_byte, lambda data: data[:1000], lambda data: b"", lambda data: b"\x80\x04K\x01."],
    ids=["a byte", "cut off", "empty", "a pickle"],
)
def test_a_damaged_file_is_refused_and_written_again(counted, first, tmp_path, capsys, damage):
    folder, _ = first
    intact = (folder / "k.step").read_bytes()
    file = tmp_path / "k.step"
    file.write_bytes(damage(intact))
    before = counted.traced
    counted.keep(tmp_path)
    assert counted.traced == before + 1
    assert capsys.readouterr().err == f"{file} is damaged: the step is traced again\n"
    assert [path.name for path in tmp_path.iterdir()] == ["k.step"]
    counted.keep(tmp_path)
    assert counted.traced == before + 1


def test_a_file_of_another_key_is_refused(counted, first, tmp_path, capsys):
    folder, _ = first
    shutil.copy(folder / "k.step", tmp_path / "other.step")
    before = counted.traced
    counted.keep(tmp_path, key="other")
    assert counted.traced == before + 1 and "damaged" in capsys.readouterr().err


def test_where_nothing_can_be_kept_the_step_works(counted, tmp_path):
    in_the_way = tmp_path / "traced"
    in_the_way.write_text("no folder")
    step = counted.keep(in_the_way)
    state, _ = step(counted.state(), counted.batch())
    assert int(state.step) == 1 and in_the_way.read_text() == "no folder"


def test_a_step_that_cannot_be_exported_is_left_as_it_is(counted, tmp_path):
    def train_step(state, batch):
        seen = jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), jnp.float32), batch["x"])
        return state, {"loss": seen}

    step = jax.jit(train_step)
    state = put_replicated({"w": np.ones(3, np.float32)}, counted.mesh)
    kept = keep_traced(step, state, {"x": np.float32(1)}, key="k", folder=tmp_path)
    assert kept is step and not list(tmp_path.iterdir())


class Images:
    """What a key asks of a dataset."""

    def __init__(self, fingerprint="a", target=1):
        self._fingerprint = fingerprint
        self._target = target

    def fingerprint(self):
        return self._fingerprint

    def targets(self):
        return np.full((2, 3), self._target, np.uint8)


def test_a_key_follows_from_everything_that_the_step_does(counted):
    config = Config()
    state, batch = counted.state(), counted.batch()

    images = Images()

    def key(config=config, images=images, mesh=counted.mesh, state=state, batch=batch, steps=9):
        return trace_key(config, images, mesh, state, batch, num_steps=steps)

    longer = copy.deepcopy(config)
    longer.optim.lr *= 2
    smaller = {"image": jax.ShapeDtypeStruct((4, 5), np.uint8)}
    one_device = make_mesh(jax.devices()[:1], 1)
    jax.config.update("jax_default_matmul_precision", "highest")
    precise = key()
    jax.config.update("jax_default_matmul_precision", None)
    others = [
        key(config=longer),
        key(images=Images(fingerprint="b")),
        key(images=Images(target=0)),
        key(mesh=one_device),
        key(state=state.replace(average=None)),
        key(batch=smaller),
        key(steps=8),
    ]
    assert len({key(), *others}) == 1 + len(others)
    assert key() == key()
    elsewhere = copy.deepcopy(config)
    elsewhere.evaluate.tta = "flips"
    elsewhere.checkpoint.keep = 7
    assert key(config=elsewhere) == key()
    assert settings_of_steps(elsewhere) == settings_of_steps(config)
    assert precise != key()
