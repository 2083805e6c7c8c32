"""Labels of a dataset are found by their names: a label id of another vocabulary is no label."""

import numpy as np
import pytest
from support.made_datasets import IDS, build_dataset, targets_of

from hpa_jax.config import Data
from hpa_jax.data import pipeline
from hpa_jax.data.catalog import load_dataset, read_vocabulary
from hpa_jax.errors import InputError
from hpa_jax.labels import HPA_2018, LABELS

TURNED = LABELS[::-1]
OTHERS = (*LABELS[:27], "Vesicles")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A data_dir with datasets whose label ids are the same, of three vocabularies."""
    path = tmp_path_factory.mktemp("vocabularies")
    for name, labels in (("ours", LABELS), ("turned", TURNED), ("others", OTHERS)):
        build_dataset(path, name, {"train": IDS["train"]}, label_names=labels)
    return path


def test_a_dataset_knows_its_vocabulary(three):
    assert read_vocabulary(three, "ours") == HPA_2018
    others = read_vocabulary(three, "others")
    assert others.labels == OTHERS and others.name == "others"


def test_targets_are_in_the_order_that_is_asked_for(three):
    stored = targets_of(IDS["train"])
    own = load_dataset(three, "turned", split="train")
    np.testing.assert_array_equal(own.targets(), stored)
    as_of_2018 = load_dataset(three, "turned", split="train", vocabulary=LABELS)
    np.testing.assert_array_equal(as_of_2018.targets(), stored[:, ::-1])
    few = load_dataset(three, "turned", split="train", vocabulary=LABELS, label_ids=[0, 3])
    kept = stored[:, [27, 24]].any(axis=1)
    np.testing.assert_array_equal(few.targets(), stored[kept][:, [27, 24]])


def test_a_dataset_without_a_label_is_refused_by_name(three):
    with pytest.raises(InputError) as error:
        load_dataset(three, "others", split="train", vocabulary=LABELS)
    message = str(error.value)
    assert "hpa/others/1.0.0: its labels are the 28 of others" in message
    assert "1 of the 28 of hpa2018 that are asked for are not among them, 'Rods & rings'" in message
    assert "\n" not in message


def test_labels_that_it_does_have_can_be_asked_for(three):
    dataset = load_dataset(three, "others", split="train", vocabulary=LABELS, label_ids=[1, 2])
    assert dataset.labels_known() and dataset.num_labels == 2


def test_images_of_other_labels_can_be_had_without_them(three):
    dataset = load_dataset(
        three, "others", split="train", vocabulary=LABELS, label_ids=[27, 0], labels_needed=False
    )
    assert len(dataset) == 23 and not dataset.labels_known()
    assert dataset.targets().shape == (23, 2) and not dataset.targets().any()


def test_a_section_leaves_the_vocabulary_to_its_dataset(three):
    data = Data(data_dir=str(three), name="others", labels=(3, 27))
    resolved = pipeline.resolve_labels(data)
    assert resolved.vocabulary == OTHERS and data.vocabulary == ()
    assert resolved.label_names() == ("Nucleoli fibrillar center", "Vesicles")
    assert resolved.named_vocabulary().name == "own"
    with pytest.raises(InputError, match=r"data.labels=\(28,\) .* ids 0 to 27 of own"):
        pipeline.resolve_labels(Data(data_dir=str(three), name="others", labels=(28,)))


def test_sources_are_put_together_by_names(three):
    data = Data(data_dir=str(three), name="ours", sources=("ours", "turned"))
    found = pipeline.open_sources(data).targets()
    stored = targets_of(IDS["train"])
    np.testing.assert_array_equal(found, np.concatenate([stored, stored[:, ::-1]]))
    mixed = Data(data_dir=str(three), name="ours", sources=("ours", "others"))
    with pytest.raises(InputError, match="hpa/others/1.0.0: its labels are"):
        pipeline.open_sources(mixed)
