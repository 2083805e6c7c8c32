"""Whatever happens to a file of a dataset: the same values, told if it had to be mended, or a line.

The dataset is tests/golden/version_0_3 (support/golden_dataset.py), one of version 3.0.0.
"""

import json
import logging
import random
import shutil
from pathlib import Path

import pytest
from support.golden_dataset import observed

from hpa_jax.data.catalog import load_dataset, read_channel_statistics
from hpa_jax.data.index_builder import scan_shard
from hpa_jax.data.records import index_path, write_index
from hpa_jax.errors import InputError
from hpa_jax.report.dataset.load import read_dataset
from tfds_builder.hpa.split import reference
from tfds_builder.hpa.split.reference import ReferenceDataset

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "version_0_3" / "data"
KEPT = Path("hpa", "kept", "3.0.0")
NAMES = sorted(path.name for path in (GOLDEN / KEPT).iterdir())
MENDED = "shard indexes again"


@pytest.fixture
def folder(tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(GOLDEN / KEPT, tmp_path / KEPT))


def everything(folder):
    """All that any part of the project reads of the dataset."""
    data_dir = folder.parents[2]
    summary, _ = read_dataset(data_dir, "kept")
    reference._rows.cache_clear()
    reference._records.cache_clear()
    other = ReferenceDataset(folder)
    other.check(folds=3)
    images = [other.image(i).tobytes() for i in range(len(other.ids))]
    return (
        observed(data_dir),
        [summary.duplicates, summary.rejects, summary.build, summary.histogram.tolist()],
        [other.ids, other.folds, other.hashes, other.group_keys, images],
    )


def assert_noticed(folder, whole, caplog, where):
    """The dataset is refused, or mended with a warning; and has not silently another value."""
    caplog.clear()
    try:
        found = everything(folder)
    except InputError as error:
        assert "\n" not in str(error) and str(error).isprintable(), where
        return
    assert found == whole, where
    assert MENDED in caplog.text, where


def flip(path, rng):
    """Inverts one bit of a file; returns where."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return f"{path.name}, byte {at}"


def flipped(folder, caplog, count, seed):
    whole = everything(folder)
    rng = random.Random(seed)
    for number in range(count):
        path = folder / NAMES[number % len(NAMES)]
        intact = path.read_bytes()
        with caplog.at_level(logging.WARNING, "hpa_jax"):
            assert_noticed(folder, whole, caplog, flip(path, rng))
        path.write_bytes(intact)


def test_no_flipped_bit_is_silent(folder, caplog):
    flipped(folder, caplog, 2 * len(NAMES), seed=1)


@pytest.mark.slow
def test_none_of_many_flipped_bits_is_silent(folder, caplog):
    flipped(folder, caplog, 600, seed=2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("instead", ["folder", "nothing", "empty"])
def test_something_else_in_place_of_a_file(folder, caplog, name, instead):
    whole = everything(folder)
    path = folder / name
    path.unlink()
    if instead == "folder":
        path.mkdir()
        (path / "inside").write_text("")
    elif instead == "empty":
        path.write_bytes(b"")
    with caplog.at_level(logging.WARNING, "hpa_jax"):
        assert_noticed(folder, whole, caplog, name)


def test_shards_of_another_build_with_their_indexes(folder, tmp_path):
    """Intact, as many, and still not those that the metadata are about."""
    for old, new in (("train", "validation"), ("validation", "train")):
        for kind in ("tfrecord", "index"):
            source = GOLDEN / KEPT / f"hpa-{old}.{kind}-00000-of-00001"
            shutil.copy(source, folder / f"hpa-{new}.{kind}-00000-of-00001")
    info = folder / "dataset_info.json"
    with pytest.raises(InputError, match="records where the dataset's metadata say"):
        load_dataset(tmp_path, "kept", split="train")
    # The metadata that TFDS wrote know no more than a number.
    text = info.read_text()
    info.write_text(text.replace('"11"', '"?"').replace('"6"', '"11"').replace('"?"', '"6"'))
    with pytest.raises(InputError, match="dataset_info.json: not the file that was built"):
        load_dataset(tmp_path, "kept", split="train")


def test_a_record_in_place_of_another(folder, tmp_path):
    """The number of records and every CRC are right, and the index is made anew."""
    shard = folder / "hpa-test.tfrecord-00000-of-00001"
    offsets = [*scan_shard(shard).rows["offset"].tolist(), shard.stat().st_size]
    data = shard.read_bytes()
    first = data[offsets[0] : offsets[1]]
    shard.write_bytes(first + first + data[offsets[2] :])
    for make_index in (write_index, lambda shard: index_path(shard).unlink()):
        make_index(shard)
        with pytest.raises(InputError, match="intact, but its records are not those that were"):
            load_dataset(tmp_path, "kept", split="test")


@pytest.mark.parametrize(
    "mean, std, message",
    [
        ([0.1, 0.2, 0.3, 2.4e15], [1, 1, 1, 1], r"a mean of 2.4e\+15, not within 0 to 1"),
        ([0.1, 0.2, 0.3, float("nan")], [1, 1, 1, 1], "a mean of nan"),
        ([0.1, 0.2, 0.3, 0.4], [1, 0, 1, 1], "a std of 0, not above 0"),
        ([0.1, 0.2, 0.3, 0.4], [1, 1.5, 1, 1], "a std of 1.5"),
        ([0.1, 0.2, 0.3], [1, 1, 1], "3 means and 3 stds for 4 channels"),
    ],
)
def test_channel_statistics_that_no_images_have(folder, tmp_path, mean, std, message):
    """Older datasets have no digests, but images of 8 bits have bounds."""
    old = folder.rename(folder.with_name("2.0.0"))
    statistics = {"mean": mean, "std": std}
    (old / "metadata.json").write_text(json.dumps({"statistics": statistics}))
    with pytest.raises(InputError, match=message):
        read_channel_statistics(tmp_path, "kept")


@pytest.fixture
def older(tmp_path):
    """A copy of a dataset of version 2.0.0, whose metadata have no digests."""
    golden = GOLDEN.parents[1] / "version_0_1/data/hpa/synthetic_32/2.0.0"
    return Path(shutil.copytree(golden, tmp_path / "hpa/synthetic_32/2.0.0"))


@pytest.mark.parametrize("column, value", [("fold", "6"), ("group", "999"), ("id", "other")])
def test_a_row_of_an_older_table_is_compared_with_its_record(older, column, value):
    ReferenceDataset(older).check(folds=8)
    reference._rows.cache_clear()
    table = older / "fields.csv"
    header, first, *rows = table.read_text().split("\n")
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert cells[column] != value
    cells[column] = value
    table.write_text("\n".join([header, ",".join(cells.values()), *rows]))
    with pytest.raises(InputError, match="fields.csv: the row of Id .* is not of its record"):
        ReferenceDataset(older).check(folds=8)


def test_a_changed_digit_of_an_older_histogram_is_noticed(older, tmp_path):
    path = older / "metadata.json"
    path.write_text(path.read_text().replace("[[1954,", "[[1955,"))
    with pytest.raises(InputError, match="its histogram is not of the dataset's pixels"):
        read_dataset(tmp_path, "synthetic_32")
