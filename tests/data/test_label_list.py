"""Files with the names of labels: alone, with their ids, and what is refused in them."""

import pytest

from hpa_jax.data.label_list import column_names, names_of, read_names
from hpa_jax.errors import InputError
from hpa_jax.labels import HPA_2021

NAMES = ["cilia, primary", "cytosol", "2 nuclei"]


@pytest.mark.parametrize(
    "text",
    [
        "cilia, primary\n\n# those inside\n cytosol \n2  nuclei\n",
        '0,"cilia, primary"\r\n1,cytosol\r\n2,2 nuclei\r\n',
        "id;name\n1;cytosol\n0;cilia, primary\n2;2 nuclei\n",
        "name\tid\ncilia, primary\t0\ncytosol\t1\n2 nuclei\t2",
        "0: cilia, primary\n1: cytosol\n02: 2 nuclei",
    ],
)
def test_names_with_and_without_ids(text):
    assert names_of(text) == NAMES


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 a\n2 b\n", "numbers its 2 labels from 1 on; ids are 0 to 1, each once: "),
        ("0,a\n2,b\n", "numbers its 2 labels from 0 on"),
        ("0,a\n0,b\n", "numbers its 2 labels"),
        (f"{'9' * 5000},a\n", "numbers its 1 labels from 99999"),
        ('["a", "b"]', "is JSON or the like; "),
        ("Label\na\nb\n", "begins with 'Label', a heading and no label; take that line out"),
    ],
)
def test_what_would_shift_the_ids_is_refused(text, reason):
    with pytest.raises(ValueError) as error:
        names_of(text)
    assert str(error.value).startswith(reason) and "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "names.txt"
    with pytest.raises(InputError, match="--x=.*names.txt is none of a, b, and there is no such"):
        read_names(path, "--x", ("a", "b"))
    path.write_bytes("Zürich".encode("latin-1"))
    with pytest.raises(InputError, match="--x=.*names.txt is not UTF-8 .byte 1.; save"):
        read_names(path, "--x", ())
    with pytest.raises(InputError, match="--x=.* cannot be read .*; "):
        read_names(tmp_path, "--x", ())


def test_names_of_columns(tmp_path):
    assert column_names("hpa2021", 19, "--x") == HPA_2021.labels
    path = tmp_path / "names.txt"
    path.write_text("a\nb\n")
    assert column_names(str(path), 2, "--x") == ("a", "b")
    with pytest.raises(InputError, match="has 2 different names for 3 columns; give one for each"):
        column_names(str(path), 3, "--x")
