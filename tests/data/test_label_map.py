"""Common labels of two vocabularies: the maps of the three public ones, and maps in a file."""

import itertools

import numpy as np
import pytest

from hpa_jax.data.label_map import FINER_THAN_2021, PUBLISHED, make_map
from hpa_jax.errors import InputError
from hpa_jax.labels import HPA_2018, HPA_2021, SUBCELL, Vocabulary

VESICLES = "Vesicles and punctate cytosolic patterns"
OWN = Vocabulary("own", ("actin", "tubulin", "other"))

# Number of common labels, and what has none in the other: counted by hand from the three lists.
EXPECTED = {
    ("hpa2018", "subcell"): (
        25,
        {"Microtubule ends", "Microtubule organizing center", "Rods & rings"},
        {
            "Centriolar satellite",
            "Midbody",
            "Mitotic chromosome",
            "Nucleoli rim",
            "Vesicles",
            "Negative",
        },
    ),
    ("hpa2018", "hpa2021"): (
        18,
        {
            "Microtubule ends",
            "Cytokinetic bridge",
            "Microtubule organizing center",
            "Rods & rings",
        },
        {"Negative"},
    ),
    ("subcell", "hpa2021"): (
        19,
        {"Cytokinetic bridge", "Midbody", "Mitotic chromosome", "Nucleoli rim"},
        set(),
    ),
}


def published(net, data):
    return make_map(PUBLISHED, net, net.labels, data)


def test_every_pair_both_ways_has_what_is_written_down():
    sets = (HPA_2018, SUBCELL, HPA_2021)
    assert [len(one) for one in sets] == [28, 31, 19]
    for one, other in itertools.combinations(sets, 2):
        number, left_of_one, left_of_other = EXPECTED[one.name, other.name]
        there = published(one, other)
        back = published(other, one)
        assert len(there.common) == len(back.common) == number
        assert set(there.net_left_out) == set(back.data_left_out) == left_of_one
        assert set(there.data_left_out) == set(back.net_left_out) == left_of_other
        assert set(map(str.casefold, there.names)) == set(map(str.casefold, back.names))
        pairs = {(label.net, label.data) for label in there.common}
        assert pairs == {(label.data, label.net) for label in back.common}
        # No label stands for two.
        for side in (0, 1):
            used = [label for pair in pairs for label in pair[side]]
            assert len(used) == len(set(used))


def test_a_coarser_label_stands_for_its_finer_ones():
    for net in (HPA_2018, SUBCELL):
        found = {label.name: label for label in published(net, HPA_2021).common}
        for fine, coarse in FINER_THAN_2021.items():
            if net.has(fine):
                assert net.ids_by_name([fine])[0] in found[coarse].net
    names = [HPA_2018.labels[i] for i in found_of(HPA_2018, VESICLES).net]
    assert names == [
        "Peroxisomes",
        "Endosomes",
        "Lysosomes",
        "Lipid droplets",
        "Cytoplasmic bodies",
    ]


def found_of(net, name):
    (label,) = [label for label in published(net, HPA_2021).common if label.name == name]
    return label


def test_scores_and_targets_by_hand(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("net,data\nPeroxisomes, tubulin\nendosomes,tubulin\nCytosol,actin\n")
    found = make_map(str(path), HPA_2018, HPA_2018.labels, OWN)
    assert found.names == ("actin", "tubulin") and found.data_left_out == ("other",)
    scores = np.zeros((2, 28), np.float32)
    scores[0, [8, 9, 25]] = 0.25, 0.5, 0.125
    np.testing.assert_array_equal(found.scores(scores), np.float32([[0.125, 0.5], [0, 0]]))
    # Of labels that exclude each other.
    np.testing.assert_array_equal(found.scores(scores, exclusive=True)[0], [0.125, 0.75])
    targets = np.uint8([[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(found.targets(targets), [[1, 0], [0, 0], [0, 0]])
    assert found.bare_images(targets) == 1


def test_a_net_of_some_labels():
    learnt = ("Focal adhesion sites", "Rods & rings")
    found = make_map(PUBLISHED, HPA_2018, learnt, HPA_2021)
    assert found.names == ("Actin filaments",) and found.common[0].net == (0,)
    assert found.net_left_out == ("Rods & rings",) and len(found.data_left_out) == 18
    with pytest.raises(InputError, match="labels of hpa2018 and the data's of hpa2021 have none"):
        make_map(PUBLISHED, HPA_2018, ("Rods & rings",), HPA_2021)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\nCytosol,actin\n", "does not begin with the line net,data"),
        ("", "does not begin with the line net,data"),
        ('net,data\n"Cytosol,actin', "does not begin with the line net,data"),
        ("net,data\nCytosol\n", r"a row of 1 cells \(Cytosol\)"),
        ("net,data\nCytosole,actin\n", "has 'Cytosole', no label of hpa2018"),
        ("net,data\nCytosol,actine\n", "has 'actine', no label of own"),
        ("net,data\n", "have none in common"),
    ],
)
def test_files_that_are_wrong(tmp_path, text, words):
    path = tmp_path / "map.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        make_map(str(path), HPA_2018, HPA_2018.labels, OWN)


def test_what_is_not_known():
    with pytest.raises(InputError, match="is for hpa2018, subcell, hpa2021; .* the data's own"):
        published(HPA_2018, OWN)
    with pytest.raises(InputError, match="is not published, and there is no such file"):
        make_map("no.csv", HPA_2018, HPA_2018.labels, OWN)
