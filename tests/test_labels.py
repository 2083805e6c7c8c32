"""Vocabularies: what a cell of a table names, and which sets of labels there are."""

import pytest

from hpa_jax.labels import HPA_2018, HPA_2021, LABEL_SETS, LABELS, Vocabulary, named

OWN = Vocabulary("mine", ("nucleus", "rim, inner", "Golgi"))
NUMBERED = Vocabulary("plates", ("7", "0", "12"))


def test_the_sets_of_two_challenges_give_one_number_to_different_structures():
    assert (len(HPA_2018), len(HPA_2021)) == (28, 19)
    assert HPA_2018.labels == LABELS
    assert HPA_2018.labels[16] == "Cytokinetic bridge"
    assert HPA_2021.labels[16] == "Cytosol"
    assert HPA_2021.labels[18] == "Negative"
    assert list(LABEL_SETS) == ["hpa2018", "hpa2021", "subcell"]


@pytest.mark.parametrize(
    ("vocabulary", "text", "expected"),
    [
        (HPA_2018, "", ()),
        (HPA_2018, " | ", ()),
        (HPA_2018, "25 0", (0, 25)),
        (HPA_2018, "25|0;07,3", (0, 3, 7, 25)),
        (HPA_2018, "golgi  APPARATUS|Cytosol", (7, 25)),
        (HPA_2018, "Golgi apparatus;3", (3, 7)),
        (HPA_2018, "RODS & RINGS", (27,)),
        (HPA_2021, "16|0", (0, 16)),
        (HPA_2021, "negative", (18,)),
        (OWN, "Rim, Inner", (1,)),
        (OWN, "golgi|nucleus", (0, 2)),
        (OWN, "2 0", (0, 2)),
        (NUMBERED, "12 7", (0, 2)),
        (NUMBERED, "0", (1,)),
    ],
)
def test_cells(vocabulary, text, expected):
    assert vocabulary.ids_of(text) == expected


@pytest.mark.parametrize(
    ("vocabulary", "text", "words"),
    [
        (HPA_2018, "28", "unknown label '28'; labels are 0 to 27"),
        (HPA_2021, "19", "unknown label '19'; labels are 0 to 18"),
        (HPA_2018, "3 -1", "unknown label '-1'"),
        (HPA_2018, "1.0", "unknown label '1.0'"),
        (HPA_2018, "Golgi body", "unknown label 'Golgi body'"),
        (HPA_2018, "1" * 5000, "unknown label '1111"),
        (HPA_2018, "\u0661", "unknown label '\u0661'"),
        (HPA_2018, "3 3", r"a label twice \(3 3\)"),
        (HPA_2018, "7|golgi apparatus", "a label twice"),
        (NUMBERED, "1", "unknown label '1'"),
    ],
)
def test_cells_that_are_wrong(vocabulary, text, words):
    with pytest.raises(ValueError, match=words):
        vocabulary.ids_of(text)


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("", ("a",), "has no name"),
        (None, ("a",), "has no name"),
        ("mine", (), "has 0 labels"),
        ("mine", ("a",) * 1001, "has 1001 labels"),
        ("mine", ("a", ""), "label 1 has no name"),
        ("mine", ("a", 3), "label 1 has no name"),
        ("mine", ("a", " b"), "label 1 is no name"),
        ("mine", ("Golgi", "b", "GOLGI"), "labels 0 and 2 have one name"),
        ("mine", ("a\u202eb",), "a character that cannot be seen"),
    ],
)
def test_what_is_no_vocabulary(name, labels, words):
    with pytest.raises(ValueError, match=words):
        Vocabulary(name, labels)


def test_json_is_read_again():
    assert Vocabulary.from_json(OWN.to_json()) == OWN
    for value in (None, [], {"name": "mine"}, {"name": "mine", "labels": "ab"}):
        with pytest.raises(ValueError, match="no name and list of labels"):
            Vocabulary.from_json(value)


def test_labels_are_found_by_name_and_not_by_number():
    assert HPA_2021.ids_by_name(("cytosol", "Microtubules")) == (16, 10)
    with pytest.raises(KeyError, match="Lysosomes"):
        HPA_2021.ids_by_name(("Cytosol", "Lysosomes"))


def test_a_known_set_is_called_by_its_name():
    assert named(LABELS) is HPA_2018
    assert named(HPA_2021.labels) is HPA_2021
    assert named(("a", "b")) == Vocabulary("own", ("a", "b"))
    assert named(LABELS[::-1], "mine").name == "mine"
