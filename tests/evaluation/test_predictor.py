"""A run that is loaded scores images as its evaluation does, whatever they come in."""

import numpy as np
import pytest
from support.made_runs import STEP, made_run

from hpa_jax.data.pipeline import open_split
from hpa_jax.errors import InputError
from hpa_jax.evaluation.predictor import load_run
from hpa_jax.evaluation.split_scores import SplitScores
from hpa_jax.labels import LABELS
from hpa_jax.parallel import memory
from hpa_jax.parallel.host_memory import Room
from hpa_jax.workdir import read_config

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, small_data):
    workdir = tmp_path_factory.mktemp("run")
    made_run(workdir, small_data)
    return workdir


@pytest.fixture(scope="module")
def images(workdir):
    dataset = open_split(read_config(workdir).data, "train")
    return np.stack([dataset.image(i) for i in range(len(dataset))])


def test_it_scores_images_as_the_evaluation_does(workdir, images):
    predictor = load_run(workdir)
    expected = SplitScores(load_run(workdir)).table("train").scores
    scores = predictor(images[:11])  # a batch of 8 and a part of one
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, expected[:11])
    np.testing.assert_array_equal(predictor(iter(images[:3])), scores[:3])
    np.testing.assert_array_equal(predictor([images[10]]), scores[10:])
    assert predictor([]).shape == (0, 28)


def test_it_has_labels_thresholds_and_size(workdir):
    predictor = load_run(str(workdir), checkpoint=STEP)
    assert predictor.labels == LABELS and predictor.label_ids == tuple(range(28))
    assert predictor.image_size == 32 and predictor.step == STEP
    np.testing.assert_array_equal(predictor.thresholds, np.linspace(0.4, 0.6, 28))
    assert predictor.thresholds_split == "validation"


def test_other_images_and_checkpoints_are_refused(workdir, images, tmp_path):
    predictor = load_run(workdir)
    with pytest.raises(InputError, match=r"image 9 is uint8 \[16, 32, 4\]: this run takes"):
        predictor([*images[:9], images[9][:16]])
    with pytest.raises(InputError, match="image 0 is float32"):
        predictor(images.astype(np.float32))
    with pytest.raises(InputError, match="there are: 1"):
        load_run(workdir, checkpoint=7)
    with pytest.raises(InputError, match="holds no run"):
        load_run(tmp_path)


@pytest.mark.parametrize("left, what", [([0], "the net"), ([10**12, 0], "scoring a batch")])
def test_what_does_not_fit_into_memory_is_refused(workdir, images, monkeypatch, left, what):
    sizes = iter(left)
    monkeypatch.setattr(memory, "host_room", lambda: Room(next(sizes), "on this machine"))
    predictor = load_run(workdir)
    with pytest.raises(InputError, match=rf"^{what} needs .* left on this machine; "):
        predictor(images[:1])
