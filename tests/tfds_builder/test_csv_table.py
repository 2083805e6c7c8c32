"""The csv of a source: what is read, what is a fault, and that there is no third outcome."""

import csv
import io
import os
import random
from pathlib import Path

import pytest

from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS, Vocabulary
from tfds_builder.hpa.files import csv_table
from tfds_builder.hpa.files.csv_columns import Columns
from tfds_builder.hpa.files.csv_rows import Reading, Row
from tfds_builder.hpa.sources import Fault

SAMPLE = os.environ.get("HPA_SAMPLE_DIR")
TWO = [Row("a", (3,), ""), Row("b", (0, 16), "")]
IDS = ",".join(map(str, range(28)))
ONE_HOT = [",".join(str(int(label in row.labels)) for label in range(28)) for row in TWO]


def read(content, *columns):
    data = content if isinstance(content, bytes) else content.encode()
    return csv_table.read(data, "d/train.csv", Reading(Columns(*columns)))


DIALECTS = {
    "as Kaggle writes it": "Id,Target\nb,16 0\na,3\n",
    "byte order mark, CRLF, further columns, empty lines": (
        "\ufeffNote,Target,Id\r\n\r\nx, 16  0 ,b\r\n,3,a\r\n"
    ),
    "CR alone": "Id,Target\rb,16 0\ra,3",
    "LF, CRLF and CR": "Id,Target\nb,16 0\r\na,3\r",
    "semicolons": "Id;Target\nb;16 0\na;3\n",
    "semicolons, ids by |": "Id;Target\nb;16|0\na;3\n",
    "bars": "Id|Target\nb|16 0\na|3\n",
    "tabs": "Id\tTarget\nb\t16 0\na\t3\n",
    "tabs, ids by ;": "Id\tTarget\nb\t16;0\na\t3;\n",
    "ids by ; in a csv with commas": "Id,Target\nb,16;0\na,3\n",
    "ids by , in quotes": 'Id,Target\nb,"16,0"\na,3\n',
    "every cell in quotes": '"Id","Target"\r\n"b","16 0"\r\n"a","3"\r\n',
    "a line end in another column's quotes": 'Id,Target,Note\nb,16 0,"x\ny"\na,3,"; "\n',
    "another column's line separators": "Id,Target,Note\nb,16 0,x\u2028y\x0bz\x1c\na,3,\x85\n",
    "ids with decimals": 'Id,Target\nb,"16.0, 0.0"\na,3.00\n',
    "names": "Id,Target\nb,Nucleoplasm|cytokinetic BRIDGE\na,Nucleoli fibrillar center\n",
    "names by ;": "Id,Target\nb,Cytokinetic bridge; Nucleoplasm\na, Nucleoli  fibrillar center \n",
    "names and ids": 'Id,Target\nb,"16, nucleoplasm"\na,03\n',
    "a header in quotes with spaces": '" Id ", Target\nb,16 0\na,3\n',
    "empty lines before the header": "\n\r\nId,Target\nb,16 0\na,3\n",
    "what Excel is told": "sep=;\r\nId;Target\r\nb;16 0\r\na;3\r\n",
    "what Excel is told of another": "\ufeffsep=|\nId|Target\nb|16 0\na|3\n",
    "comments": "# exported\n#\n\nId,Target\nb,16 0\n# half,of,it\na,3\n#\n",
    "a header in a comment": "# exported\n#Id,Target\nb,16 0\na,3\n",
    "another case": "ID,target\nb,16 0\na,3\n",
    "a column Label": "Label,id\n16 0,b\n3,a\n",
    "a column a label, by id": f"Id,{IDS}\nb,{ONE_HOT[1]}\na,{ONE_HOT[0]}\n",
    "a column a label, by name": (
        f"Id,Note,{','.join(map(str.upper, LABELS))}\nb,x,{ONE_HOT[1]}\na,y,{ONE_HOT[0]}\n"
    ),
    "lines of separators alone": "Id,Target\n,\nb,16 0\n , \na,3\n",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_rows_in_any_dialect(dialect):
    assert read(DIALECTS[dialect]) == (TWO, [])
    assert read(DIALECTS[dialect].encode("utf-16")) == (TWO, [])


def test_every_name_is_read():
    for label, name in enumerate(LABELS):
        assert read(f"Id,Target\na,{name.upper()}\n").rows == [Row("a", (label,), "")]


def test_other_columns_and_a_group():
    content = "field;where;antibody\nb;16 0;\na;3; HPA 7 \n"
    assert read(content, "field", "where") == (TWO, [])
    assert read(content, "field", "where", "antibody").rows == [
        Row("a", (3,), "HPA 7"),
        Row("b", (0, 16), ""),
    ]


FAULTS = {
    "unknown label": (
        "a,28",
        "a",
        "has the unknown label '28'; labels are 0 to 27, or their names",
    ),
    "label -1": ("a,-1", "a", "has the unknown label '-1'; "),
    "label -1 beside another": ("a,3 -1", "a", "has the unknown label '-1'; "),
    "label 1.5": ("a,1.5", "a", "has the unknown label '1.5'; "),
    "label 1.0.0": ("a,1.0.0", "a", "has the unknown label '1.0.0'; "),
    "unknown name": ("a,Golgi body", "a", "has the unknown label 'Golgi body'; "),
    "a word for no structure": ("a,Negative", "a", "has the label 'Negative', which is none of h"),
    "unknown word": ("a,0 Golgi", "a", "has the unknown label 'Golgi'; "),
    "label of 5,000 digits": (f"a,{'1' * 5000}", "a", "has the unknown label '111"),
    "label in other digits": ("a,١", "a", "has the unknown label '١'"),
    "label twice": ("a,3 3", "a", "has a label twice (3 3); take one out"),
    "label twice, once by name": (
        "a,7|Golgi apparatus",
        "a",
        "has a label twice (7|Golgi apparatus); take one out",
    ),
    "no label": ("a,", "a", "has no label; give it one or take the row out"),
    "no label but spaces": ("a,  ", "a", "has no label; "),
    "no label but a program's word for that": ("a,NaN", "a", "has no label; "),
    "no label but separators": ("a,|;", "a", "has no label; "),
    "Id that climbs": ("../x,1", "'../x'", "has an Id with an empty part, . or .. between "),
    "Id of two dots": ("..,1", "'..'", "has an Id with"),
    "Id from the root": ("/etc/passwd,1", "'/etc/passwd'", "has an Id with"),
    "Id that climbs by backslashes": ("a\\..\\b,1", "'a\\\\..\\\\b'", "has an Id with"),
    "Id of a line end": ('"a\n",1', "a", None),
    "Id over two lines": (
        '"a\nb",1',
        "'a\\nb'",
        "has the invisible character U+000A in its Id; take it out",
    ),
    "Id that turns the line round": ("a\u202eb,1", "'a\\u202eb'", "has the invisible character"),
    "Id empty": (",1", "''", "has no Id; give it one"),
    "zero byte in the Id": ("x\0y,1", "'x\\x00y'", "has a zero byte in it; save the csv again"),
    "zero byte in the labels": ("a,1\0", "a", "has a zero byte in it; "),
    "a row too short": ("a", "a", "has 1 columns where the first line has 2; put it right"),
    "a row too long": ("a,1,2", "a", "has 3 columns where the first line has 2; "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_row_is_named_and_the_others_stay(fault):
    row, id, reason = FAULTS[fault]
    rows, faults = read(f"Id,Target\nz,5\n{row}\ny,4\n")
    if reason is None:  # what a spreadsheet may leave around a sound Id is taken off
        assert ([row.id for row in rows], faults) == ([id, "y", "z"], [])
        return
    assert rows == [Row("y", (4,), ""), Row("z", (5,), "")]
    assert [(fault.id, fault.file) for fault in faults] == [(id, "d/train.csv, line 3")]
    assert (
        faults[0].reason.startswith(reason)
        and "\n" not in str(faults[0])
        and "; " in faults[0].reason
    )


def test_an_id_twice():
    """Two rows that agree are one too many; of rows that differ none is accepted, in any order."""
    rows, faults = read("Id,Target\na,1 2\nb,3\na,2 1\na,1 2\n")
    assert rows == [Row("a", (1, 2), ""), Row("b", (3,), "")]
    assert [str(fault) for fault in faults] == [
        f"Id a: d/train.csv, line {line} has it again after line 2; take one of the two rows out"
        for line in (4, 5)
    ]
    rows, faults = read("Id,Target\na,1\nb,3\na,2\na,99\n")
    assert rows == [Row("b", (3,), "")]
    assert [(fault.file[-6:], fault.reason[:39]) for fault in faults] == [
        ("line 2", "contradicts line 4; take all rows but t"),
        ("line 4", "contradicts line 2; take all rows but t"),
        ("line 5", "has the unknown label '99'; labels are "),
    ]


def test_one_id_in_every_row_takes_no_longer():
    rows, faults = read("Id,Target\n" + "a,1\n" * 50_000)
    assert (len(rows), len(faults)) == (1, 49_999)
    rows, faults = read("Id,Target\n" + "a,1\na,2\n" * 25_000)
    assert (len(rows), len(faults)) == (0, 50_000)


UNREADABLE = {
    "nothing": (
        b"",
        "has no columns Id and Target in its first line; see tfds_builder/hpa/README.md",
    ),
    "no header": (
        b"a,1\n",
        "has no columns Id and Target in its first line; its columns are a, 1; see",
    ),
    "no column Target": (
        b"Id,Predicted\na,1\n",
        "has no column Target in its first line; its columns are Id, Predicted; see",
    ),
    "a header in another alphabet": (
        "\u202eId,T\u00e9l\n".encode(),
        "its columns are '\\u202eId', T\u00e9l; see",
    ),
    "a packed csv": (b"\x1f\x8b\x08\0", "is packed by gzip; unpack it"),
    "a workbook": (b"PK\x03\x04\x14\0", "is an Excel workbook or another zip; save it as csv"),
    "a column twice": (b"Id,Target,Id\na,1,b\n", "has the column Id twice; rename one of them"),
    "no rows": (b"Id,Target\n", "has no rows; see"),
    "no rows but empty lines": (b"Id,Target\n\n,\n", "has no rows"),
    "Latin-1": (
        "Id,Target,Note\nx,1,Zürich\n".encode("latin-1"),
        "is not UTF-8 (byte 20; in Latin-1 it would be \u00fc); save it as UTF-8",
    ),
    "half of UTF-16": ("Id,Target\na,1\n".encode("utf-16")[:-1], "is cut short UTF-16; save"),
    "UTF-16 without a mark": (
        "Id,Target\na,1\n".encode("utf-16-le"),
        "has zero bytes in its first line, as UTF-16 without a byte order mark has; save it",
    ),
    "a quote left open": (
        b'Id,Target\na,1\n"b,1\nc,2\nd,3\n',
        "line 3: unexpected end of data; put the line right",
    ),
    "a quote in the middle": (
        b'Id,Target\na,1\n"b"x,1\nc,2\n',
        "line 3: ',' expected after '\"'; put",
    ),
    "a cell without end": (
        b"Id,Target\na," + b"1" * 200_000,
        "line 2: field larger than field limit",
    ),
    "UTF-32": ("Id,Target\na,1\n".encode("utf-32"), "is UTF-32; save it as UTF-8"),
    "an image": (b"\x89PNG\r\n\x1a\n", "is not UTF-8 (byte 0)"),
}


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_csv_whose_rows_cannot_be_told_apart_is_refused(fault):
    content, reason = UNREADABLE[fault]
    with pytest.raises(InputError) as error:
        read(content)
    assert not isinstance(error.value, Fault)
    line = str(error.value)
    assert line.startswith("d/train.csv") and reason in line and "\n" not in line and "; " in line


def test_random_damage_gives_rows_faults_or_one_line():
    """And every line that a plain csv reader finds is in one of them."""
    rng = random.Random(0)
    seed = b'\xef\xbb\xbfId,Target,Note\r\na,3 4,"x;y"\nb,Golgi apparatus|0,\r'
    seed += b'c-1_2,27,"two\nlines"\n\nd,1,x\n'
    alphabet = b'",;\t|\r\n\0 a1-\xc3\xa9\xff'
    outcomes = {"rows": 0, "faults": 0, "refused": 0}
    for _ in range(4000):
        data = bytearray(seed)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 1, 4))] = rng.choices(alphabet, k=rng.randrange(3))
        try:
            rows, faults = read(bytes(data))
        except InputError as error:
            assert "\n" not in str(error) and not isinstance(error, Fault)
            outcomes["refused"] += 1
            continue
        outcomes["rows"] += len(rows)
        outcomes["faults"] += len(faults)
        assert all("\n" not in str(fault) for fault in faults)
        text = io.StringIO(data.decode("utf-8-sig"), newline="")
        separators = [
            sep for sep in ",;\t" if sep in data.decode("utf-8-sig").strip("\r\n").splitlines()[0]
        ]
        plain = [
            row
            for row in csv.reader(text, delimiter=separators[0])
            if any(cell.strip() for cell in row)
        ]
        assert len(rows) + len(faults) == len(plain) - 1 or len(separators) > 1
    assert min(outcomes.values()) > 200
    for _ in range(500):
        with pytest.raises(InputError):
            read(rng.randbytes(rng.randrange(60)))


@pytest.mark.skipif(SAMPLE is None, reason="HPA_SAMPLE_DIR is not set")
@pytest.mark.parametrize(
    ("name", "number"), [("kaggle_train", 31072), ("hpav18_without_duplicates", 74606)]
)
def test_the_real_tables_are_read_without_a_fault(name, number):
    path = Path(SAMPLE) / "csv" / f"{name}.csv"
    rows, faults = read(path.read_bytes())
    assert (len(rows), faults) == (number, []) and rows == sorted(rows)
    with open(path, newline="") as file:
        plain = {
            row["Id"]: tuple(sorted(map(int, row["Target"].split())))
            for row in csv.DictReader(file)
        }
    assert {row.id: row.labels for row in rows} == plain


def test_a_group_is_read_with_its_white_space_as_one_space():
    rows, faults = read("Id,Target,G\na,3,\u00a0Donor \u3000 7\t\nb,3,'=x\n", "Id", "Target", "G")
    # A mark that this project put before a formula is none of the key.
    assert (rows, faults) == ([Row("a", (3,), "Donor 7"), Row("b", (3,), "=x")], [])


@pytest.mark.parametrize("char", ["\u202e", "\x1b", "\x07", "\u200b", "\ufeff"])
def test_a_group_with_what_nobody_sees_is_a_fault(char):
    rows, faults = read(f"Id,Target,G\na,3,x{char}y\n", "Id", "Target", "G")
    reason = f"has the invisible character U+{ord(char):04X} in its group; take it out"
    assert rows == []
    assert [(fault.id, fault.file, fault.reason) for fault in faults] == [
        ("a", "d/train.csv, line 2", reason)
    ]


def test_a_word_for_nothing_is_no_group_and_no_label():
    content = "Id,Target,G,A\na,NaN,nan,1\nb,3,N/A,NULL\nc,3,x,#N/A\n"
    reading = Reading(Columns(group="G"), no_label="unknown")
    rows, faults = csv_table.read(content.encode(), "d/train.csv", reading)
    assert [(row.group_key, row.labels_known) for row in rows] == [
        ("", False),
        ("", True),
        ("x", True),
    ]
    assert not faults
    assert csv_table.label_names(content.encode(), "d", Reading(Columns(labels="G"))) == ["x"]
    # Unless it is the name of a label.
    reading = Reading(vocabulary=Vocabulary("own", ("x", "NA")))
    rows, _ = csv_table.read(b"Id,Target\na,NA\n", "d", reading)
    assert rows[0].labels == (1,)
    of_2021 = b"ID,Label\na,16.0\nb,NaN\nc,x\n"
    with pytest.raises(InputError, match="--labels=hpa2021 or --labels=hpa2018"):
        csv_table.read(of_2021, "d", Reading(ask=True, no_label="unknown"))
    rows, _ = csv_table.read(b"Id,Target\na,NA\n", "d", reading)
    assert rows[0].labels == (1,)


def test_ids_of_ones_own_classes_are_asked_about():
    classes = "".join(f"i{number},{number % 3}\n" for number in range(9))
    reading = Reading(Columns(labels="phase"), ask=True)
    with pytest.raises(InputError, match="one id in each row of the column phase, .*--labels=FILE"):
        csv_table.read(f"Id,phase\n{classes}".encode(), "d", reading)
    # A gap, several ids in a row, or the challenge's own name of the column.
    for header, rows in (
        ("Id,phase", f"{classes}x,5\n"),
        ("Id,phase", f"{classes}x,1 2\n"),
        ("Id,Target", classes),
    ):
        columns = Columns(labels=header[3:])
        found = csv_table.read(f"{header}\n{rows}".encode(), "d", Reading(columns, ask=True))
        assert not found.faults


def test_what_ids_are_taken_for_is_told():
    ask = Reading(ask=True)
    (note,) = csv_table.describe_labels(b"Id,Target\na,0\nb,27\n", "d", ask)
    assert "those of hpa2018 (0 Nucleoplasm to 27 Rods & rings); if they are others: --la" in note
    _, first = csv_table.describe_labels(b"Id,Target\na,1\nb,27 3\nc,99\n", "d", ask)
    assert first == "no row has the id 0 (Nucleoplasm), from which ids count: do yours from 1?"
    assert csv_table.describe_labels(b"Id,Target\na,Nucleoli\nb,\n", "d", ask) == []
    assert csv_table.describe_labels(b"Id,Target\na,0\n", "d", Reading()) == []
