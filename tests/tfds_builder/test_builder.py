"""The builder's command line, from image files to shards that any TensorFlow program reads."""

import contextlib
import csv
import hashlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from support.golden_dataset import ODD

from hpa_jax.data.records import Records
from hpa_jax.labels import CHANNELS, LABELS
from tfds_builder.hpa.__main__ import main

ROOT = Path(__file__).parents[2]
DUMMY = ROOT / "tfds_builder/hpa/dummy_data"
SPLITS = ("train", "validation", "test")
SMALL = ("--config=synthetic_32", "--images=40", "--seed=3")


def build(data_dir, *flags, manual_dir=DUMMY, workers=1):
    flags = flags or ("--config=kaggle_512", f"--manual_dir={manual_dir}")
    return main([*flags, f"--data_dir={data_dir}", f"--workers={workers}"])


def read(version, split="*"):
    """{id: (image, labels)} by plain tf.data: no TFDS, no code of this project."""
    spec = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.VarLenFeature(tf.int64),
    }
    images = {}
    for record in tf.data.TFRecordDataset(
        sorted(map(str, version.glob(f"hpa-{split}.tfrecord-*")))
    ):
        example = tf.io.parse_single_example(record, spec)
        image = tf.io.decode_png(example["image"], channels=4).numpy()
        images[example["id"].numpy().decode()] = (
            image,
            tf.sparse.to_dense(example["labels"]).numpy().tolist(),
        )
    return images


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows(manual_dir):
    with open(manual_dir / "train.csv", newline="") as file:
        return {row["Id"]: sorted(map(int, row["Target"].split())) for row in csv.DictReader(file)}


def assert_holds(version, manual_dir, ids):
    """The shards hold the folder's images; those of `ids` are compared with Pillow's pixels."""
    images, wanted = read(version), rows(manual_dir)
    assert {id: labels for id, (_, labels) in images.items()} == wanted
    for id in ids or wanted:
        for number, channel in enumerate(CHANNELS):
            source = np.asarray(Image.open(manual_dir / "train" / f"{id}_{channel}.png"))
            np.testing.assert_array_equal(images[id][0][..., number], source)


def test_every_pixel_and_label_is_found_by_plain_tf_data(tmp_path):
    assert build(tmp_path) == 0
    assert_holds(tmp_path / "hpa/kaggle_512/3.0.0", DUMMY, None)


@pytest.mark.skipif("HPA_SAMPLE_DIR" not in os.environ, reason="HPA_SAMPLE_DIR is not set")
def test_real_images(tmp_path):
    sample = Path(os.environ["HPA_SAMPLE_DIR"]) / "kaggle_512"
    some = tmp_path / "some"
    some.mkdir()
    (some / "train").symlink_to(sample / "train")
    head, *lines = (sample / "train.csv").read_text().splitlines()
    (some / "train.csv").write_text("\n".join([head, *lines[::4]]))
    flags = ("--config=kaggle_512", f"--manual_dir={some}", "--allow_uneven_splits")
    assert build(tmp_path, *flags, workers=2) == 0
    version = tmp_path / "hpa/kaggle_512/3.0.0"
    assert_holds(version, some, sorted(rows(some))[::5])
    assert all(read(version, split) for split in SPLITS)


def test_tfds_reads_it_without_the_builder(tmp_path):
    assert build(tmp_path) == 0
    builder = tfds.builder_from_directory(tmp_path / "hpa/kaggle_512/3.0.0")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 7,
        "validation": 2,
        "test": 1,
    }
    assert builder.info.features["labels"].feature.names == list(LABELS)
    assert builder.info.metadata["build"]["seed"] == 0
    examples = list(builder.as_dataset(split="all").as_numpy_iterator())
    assert {example["id"].decode() for example in examples} == set(rows(DUMMY))
    assert all(example["image"].shape == (16, 16, 4) for example in examples)


def test_tfds_reads_the_golden_dataset():
    """Of tests/golden/version_0_3; that `hpa_jax` reads it is tested in tests/data."""
    golden = Path(__file__).parents[1] / "golden/version_0_3/data/hpa"
    found = {}
    for name in ("kept", "unlabelled"):
        builder = tfds.builder_from_directory(golden / name / "3.0.0")
        examples = tfds.as_numpy(builder.as_dataset(split="all"))
        found[name] = {example["id"].decode(): example for example in examples}
    kept = found["kept"]
    assert len(kept) == 21
    for image_id, original in {**ODD, "plate-3": "plate-3"}.items():
        assert kept[image_id]["original_id"].decode() == original
    assert kept["plate-9"]["labels"].tolist() == [2, 5]
    assert all(example["labels_known"] for example in kept.values())
    known = {id: bool(example["labels_known"]) for id, example in found["unlabelled"].items()}
    assert known == {f"plate-{i}": i % 2 == 1 for i in range(1, 7)}


def test_an_index_lies_beside_each_shard(tmp_path):
    assert build(tmp_path, *SMALL) == 0
    version = tmp_path / "hpa/synthetic_32/3.0.0"
    shards = sorted(version.glob("*.tfrecord-*"))
    assert len(shards) == len(list(version.glob("*.index-*"))) == 3
    before = digests(tmp_path)
    records = Records(shards)
    plain = [record.numpy() for record in tf.data.TFRecordDataset(list(map(str, shards)))]
    assert [records[i] for i in range(len(records))] == plain
    assert digests(tmp_path) == before  # nothing had to be indexed again


def test_same_bytes_on_one_and_two_workers_and_in_any_row_order(tmp_path):
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    (shuffled / "train").symlink_to(DUMMY / "train")
    head, *lines = (DUMMY / "train.csv").read_text().splitlines()
    (shuffled / "train.csv").write_text("\r\n".join([head, *reversed(lines)]), encoding="utf-8-sig")
    for name, workers, manual_dir in (("one", 1, DUMMY), ("two", 2, DUMMY), ("other", 1, shuffled)):
        assert build(tmp_path / name, manual_dir=manual_dir, workers=workers) == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    differ = digests(tmp_path / "one").items() ^ digests(tmp_path / "other").items()
    assert {name for name, _ in differ} == {
        "hpa/kaggle_512/3.0.0/metadata.json"
    }  # the digest of the csv


def test_synthetic_is_the_same_in_another_process(tmp_path):
    """Protobuf orders the features of an example anew in each process."""
    assert build(tmp_path / "here", *SMALL) == 0
    command = [
        sys.executable,
        "-m",
        "tfds_builder.hpa",
        *SMALL,
        f"--data_dir={tmp_path / 'there'}",
        "--workers=1",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert digests(tmp_path / "here") == digests(tmp_path / "there")
    images = read(tmp_path / "here/hpa/synthetic_32/3.0.0")
    assert len(images) == 40
    assert {image.shape for image, _ in images.values()} == {(32, 32, 4)}
    assert (
        build(tmp_path / "seed", "--config=synthetic", "--size=32", "--images=40", "--seed=4") == 0
    )
    here, other = digests(tmp_path / "here"), digests(tmp_path / "seed")
    assert {name for name in here if here[name] != other[name]} == {
        f"hpa/synthetic_32/3.0.0/{name}"
        for split in SPLITS
        for name in (f"hpa-{split}.tfrecord-00000-of-00001", f"hpa-{split}.index-00000-of-00001")
    } | {
        f"hpa/synthetic_32/3.0.0/{name}"
        for name in ("metadata.json", "dataset_info.json", "images.csv")
    }


def test_what_workers_import_is_without_tensorflow():
    """It would cost each of them seconds and hundreds of megabytes."""
    modules = "tfds_builder.hpa.configs, tfds_builder.hpa.pool"
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_starting_again(tmp_path, capsys):
    assert build(tmp_path, *SMALL) == 0
    before = digests(tmp_path)
    said = capsys.readouterr().out
    assert "40 images (train 27, validation 4, test 9)" in said
    assert f"--config.data.data_dir={tmp_path} --config.data.name=synthetic_32" in said
    assert build(tmp_path, *SMALL) == 0
    assert "is there already" in capsys.readouterr().out
    assert build(tmp_path, *SMALL, "--images=41", "--frequencies=real") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert (
        "images 40, not 41" in said
        and "frequencies tempered, not real" in said
        and "remove it" in said
    )
    assert digests(tmp_path) == before


@contextlib.contextmanager
def building(data_dir, images):
    """The real command on a terminal, with two workers, once it has written some images."""
    command = [
        sys.executable,
        "-m",
        "tfds_builder.hpa",
        "--config=synthetic_72",
        f"--images={images}",
    ]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen(
        [*command, f"--data_dir={data_dir}", "--workers=2"],
        cwd=ROOT,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        seen = b""
        while not re.search(rb"writing: .* [1-9]\d*/%d " % images, seen):
            seen += os.read(ours, 4096)  # an OSError once the command has ended
        yield process
    os.close(ours)


def test_a_second_build_at_once_then_a_kill_then_a_new_start(tmp_path, capsys):
    flags = ("--config=synthetic_72", "--images=120")
    assert build(tmp_path / "clean", *flags) == 0
    data_dir = tmp_path / "killed"
    with building(data_dir, images=120) as process:
        process.send_signal(signal.SIGSTOP)
        assert build(data_dir, *flags) == 2
        assert "is being built" in capsys.readouterr().err
        processes = subprocess.run(
            ["pgrep", "-g", str(process.pid)], capture_output=True, text=True
        ).stdout.split()
        assert len(processes) >= 3
        process.send_signal(signal.SIGKILL)
    assert list(data_dir.glob(".hpa_synthetic_72.incomplete"))  # it was in the middle,
    assert not (data_dir / "hpa").exists()  # and nothing looks finished
    end = time.monotonic() + 120
    while (
        left := [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    ) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left, "worker processes outlived a killed build"
    assert build(data_dir, *flags) == 0
    assert digests(data_dir) == digests(tmp_path / "clean")
    assert [path.name for path in data_dir.iterdir()] == ["hpa"]


def test_sigterm_takes_its_files_away(tmp_path):
    with building(tmp_path / "data", images=120) as process:
        # Stopped, it is still in the middle when the signal is there.
        process.send_signal(signal.SIGSTOP)
        process.terminate()
        process.send_signal(signal.SIGCONT)
    assert process.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "data").exists()
