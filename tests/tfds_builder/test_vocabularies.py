"""Which labels a dataset has: named sets, files, names in a csv; and the trap of 2021."""

import numpy as np
import pytest
from support.image_files import FOLDER, gray_png, write

from hpa_jax.errors import InputError
from hpa_jax.labels import HPA_2018, HPA_2021
from tfds_builder.hpa import vocabularies
from tfds_builder.hpa.files import layouts

COLUMNS_OF_2021 = {"id_column": "ID", "label_column": "Label"}


def folder(tmp_path, rows, **arguments):
    return layouts.folder(write(tmp_path, FOLDER, gray_png, rows), **arguments)


def labels_of(source):
    listing = source.examples()
    assert not listing.faults, listing.faults
    return {example.id: example.labels for example in listing.examples}


@pytest.mark.parametrize(
    ("rows", "arguments"),
    [
        ("ID,Label\na_1,16\nb_2,18\n", COLUMNS_OF_2021),
        ("ID,Label\na_1,16|0\nb_2,18\n", {}),
        ("ID,Label\na_1,0\nb_2,1\n", {}),
        ("Id,label\na_1,16 0\nb_2,18\n", {}),
        ("Id,Target\na_1,16|0\nb_2,18\n", {}),
        ("image;classes\na_1;16|0\nb_2;18\n", {"id_column": "image", "label_column": "classes"}),
    ],
)
def test_ids_that_may_be_those_of_2021_are_asked_about(tmp_path, rows, arguments):
    source = folder(tmp_path, rows, **arguments)
    with pytest.raises(InputError, match="whose 19 classes are others .* --labels=hpa2021 or"):
        source.examples()
    for name, vocabulary in (("hpa2018", HPA_2018), ("hpa2021", HPA_2021)):
        answered = layouts.folder(tmp_path, labels=name, **arguments)
        assert labels_of(answered).keys() == {"a_1", "b_2"}
        assert answered.vocabulary == vocabulary


@pytest.mark.parametrize(
    "rows",
    [
        "Id,Target\na_1,16 0\nb_2,18\n",
        "ID,Label\na_1,16 0\nb_2,19\n",
        "Id,Target\na_1,16\nb_2,18\n",
        "ID,Label\na_1,16|0\nb_2,27\n",
        "ID,Label\na_1,Cytosol|Nucleoli\nb_2,Lysosomes\n",
    ],
)
def test_other_tables_are_not(tmp_path, rows):
    assert len(labels_of(folder(tmp_path, rows))) == 2


def test_kaggle_512_asks_too(tmp_path):
    name = ("train.csv", "train/{id}_{channel}.png")
    write(tmp_path, name, gray_png, "ID,Label\na_1,16\nb_2,18|0\n")
    with pytest.raises(InputError, match="--labels=hpa2021"):
        layouts.kaggle_512(tmp_path).examples()
    assert labels_of(layouts.kaggle_512(tmp_path, labels="hpa2021"))["b_2"] == (0, 18)


def test_only_a_set_that_is_not_the_default_is_a_setting(tmp_path):
    rows = "Id,Target\na_1,3\nb_2,5\n"
    plain = folder(tmp_path, rows).settings()
    assert layouts.folder(tmp_path, labels="hpa2018").settings() == plain
    other = layouts.folder(tmp_path, labels="hpa2021").settings()
    assert other == plain | {"labels": "hpa2021"}


def test_names_of_a_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# in the order of the ids\nSpindle, early\n\nER  exit sites\nCilia\n")
    rows = 'Id,Target\na_1,"Spindle, early"\nb_2,cilia|er exit  SITES\n'
    source = folder(tmp_path, rows, labels=str(path))
    assert source.vocabulary.name == "mine"
    assert source.vocabulary.labels == ("Spindle, early", "ER exit sites", "Cilia")
    assert labels_of(source) == {"a_1": (0,), "b_2": (1, 2)}
    assert source.settings()["labels"] == "mine" and len(source.settings()["labels_sha256"]) == 64
    ids = layouts.folder(tmp_path, labels=str(path))
    (tmp_path / "labels.csv").write_text("Id,Target\na_1,0 2\nb_2,3\n")
    assert [fault.id for fault in ids.examples().faults] == ["b_2"]
    assert "labels are 0 to 2, or their names" in ids.examples().faults[0].reason


def test_names_found_in_the_csv(tmp_path):
    rows = "Id,Target\na_1,Cilia|Basal body\nb_2,cilia; Axoneme\n"
    source = folder(tmp_path, rows, labels="csv")
    assert source.vocabulary.labels == ("Axoneme", "Basal body", "Cilia")
    assert not any("Each image has exactly one" in note for note in source.examples().notes)
    assert labels_of(source) == {"a_1": (1, 2), "b_2": (0, 2)}
    one_each = folder(tmp_path, "Id,Target\na_1,Cilia\nb_2,Axoneme\n", labels="csv")
    assert any("Each image has exactly one" in note for note in one_each.examples().notes)


def test_names_found_in_columns(tmp_path):
    rows = "Id,well,Cilia,Axoneme\na_1,A1,1,0\nb_2,A2,1.0,True\n"
    arguments = {"labels": "csv", "label_columns": ("Cilia", "Axoneme")}
    source = folder(tmp_path, rows, **arguments)
    assert source.vocabulary.labels == ("Cilia", "Axoneme")
    assert labels_of(source) == {"a_1": (0,), "b_2": (0, 1)}
    rest = layouts.folder(tmp_path, labels="csv", label_columns=("all",), group_column="well")
    assert labels_of(rest) == labels_of(source)
    (tmp_path / "labels.csv").write_text(rows.replace("1.0", "maybe"))
    (fault,) = source.examples().faults
    assert fault.reason == "has 'maybe' in the column Cilia; put 1 or 0 there"


FAULTS = {
    "nothing": ("", "has 0 labels"),
    "a name twice": ("Cilia\nCILIA \n", "labels 0 and 1 have one name"),
    "a name that turns the line round": ("a\u202eb\n", "a character that cannot be seen"),
    "too many": ("\n".join(f"x{i}" for i in range(1001)), "has 1001 labels"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_a_vocabulary(tmp_path, fault):
    text, reason = FAULTS[fault]
    path = tmp_path / "names"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        vocabularies.resolve(str(path), list)
    line = str(error.value)
    assert line.startswith(f"--labels={path} ") and reason in line and "\n" not in line


def test_no_such_set_and_no_text(tmp_path):
    with pytest.raises(InputError, match="hpa2019 is none of hpa2018, hpa2021, subcell, csv, and"):
        vocabularies.resolve("hpa2019", list)
    (tmp_path / "names").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"is not UTF-8 \(byte 0\); save it as UTF-8"):
        vocabularies.resolve(str(tmp_path / "names"), list)
    source = write(tmp_path, FOLDER, gray_png, "Id,Target\na_1,3 4\nb_2,5\n")
    with pytest.raises(InputError, match="has '3 4' among its labels, an id and no name; "):
        layouts.folder(source, labels="csv")


def test_a_file_of_a_sets_names_is_that_set(tmp_path):
    path = tmp_path / "mine"
    path.write_text("\n".join(HPA_2021.labels))
    assert vocabularies.resolve(str(path), list) == HPA_2021
    other = tmp_path / "hpa2018"
    other.write_text("Cilia\n")
    assert vocabularies.resolve(str(other), list).name == "own_hpa2018"


def test_images_are_the_same_under_any_vocabulary(tmp_path):
    rows = "Id,Target\na_1,3\nb_2,5\n"
    one = folder(tmp_path, rows)
    other = layouts.folder(tmp_path, labels="hpa2021")
    example = one.examples().examples[0]
    np.testing.assert_array_equal(one.image(example), other.image(example))
