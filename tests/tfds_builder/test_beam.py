"""Building under Apache Beam: the same bytes as the ordinary build, with another protobuf.

Beam's local runner and the real entry, in the environment that `launch/local.sh test --all` makes
of beam.lock.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.utils import shard_utils

from tfds_builder.hpa.__main__ import main
from tfds_builder.hpa.beam import shard_keys

REPOSITORY = Path(__file__).resolve().parents[2]
DUMMY = REPOSITORY / "tfds_builder/hpa/dummy_data"
BEAM = Path(sys.prefix) / "beam"
KAGGLE = ("--config=kaggle_512", f"--manual_dir={DUMMY}")
TWO = "--direct_num_workers=2 --direct_running_mode=multi_processing"

# The command line after a change in the process: shards of 10 KB, or a file that is damaged after
# it was measured and before it is written.
SMALL_SHARDS = """
from tensorflow_datasets.core.utils import shard_utils
shard_utils.ShardConfig.min_shard_size = 10_000
"""
DAMAGED_LATE = """
from pathlib import Path
from tfds_builder.hpa import prepare
write = prepare.run_tfds
def damage_and_write(*args):
    Path({path!r}).write_bytes(b"")
    write(*args)
prepare.run_tfds = damage_and_write
"""
THEN = "import sys; from tfds_builder.hpa.__main__ import main; sys.exit(main(sys.argv[1:]))"


def in_its_environment(command, cwd=REPOSITORY):
    assert (BEAM / "installed").is_file(), (
        f"{BEAM} is missing or unfinished: launch/local.sh test --all installs it"
    )
    done = subprocess.run(
        [BEAM / "bin" / command[0], *command[1:]], cwd=cwd, capture_output=True, text=True
    )
    assert "Traceback" not in done.stdout
    return done


def build(data_dir, *flags, beam="", before=""):
    start = ["-c", before + THEN] if before else ["-m", "tfds_builder.hpa"]
    return in_its_environment(
        ["python", *start, *map(str, flags), f"--data_dir={data_dir}", f"--beam={beam}"]
    )


def build_plainly(data_dir, *flags, before=""):
    command = [
        sys.executable,
        "-c",
        before + THEN,
        *map(str, flags),
        f"--data_dir={data_dir}",
        "--workers=1",
    ]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)


def digests(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@pytest.fixture
def damaged(tmp_path):
    """A copy of the dummy data, one file of it cut short."""
    manual_dir = tmp_path / "manual"
    shutil.copytree(DUMMY, manual_dir)
    (manual_dir / "train" / "dummy-00_red.png").write_bytes(
        (DUMMY / "train" / "dummy-00_red.png").read_bytes()[:60]
    )
    return manual_dir


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What the ordinary build makes of the dummy data."""
    data_dir = tmp_path_factory.mktemp("plain")
    build_plainly(data_dir, *KAGGLE)
    return data_dir


@pytest.mark.slow
def test_same_bytes_of_two_processes(tmp_path, plain):
    done = build(tmp_path / "beam", *KAGGLE, beam=TWO)
    assert done.returncode == 0, done.stderr
    assert "10 images (train" in done.stdout
    assert digests(tmp_path / "beam") == digests(plain)
    assert [path.name for path in (tmp_path / "beam").iterdir()] == ["hpa"]


@pytest.mark.slow
def test_same_bytes_in_many_shards(tmp_path):
    flags = ("--config=synthetic_32", "--images=60", "--seed=3", "--codec=zstd")
    build_plainly(tmp_path / "plain", *flags, before=SMALL_SHARDS)
    assert build(tmp_path / "beam", *flags, before=SMALL_SHARDS).returncode == 0
    assert len(list((tmp_path / "beam").rglob("hpa-train.tfrecord-*-of-00008"))) == 8
    assert digests(tmp_path / "beam") == digests(tmp_path / "plain")


@pytest.mark.slow
def test_a_faulty_row(tmp_path, damaged):
    flags = ("--config=kaggle_512", f"--manual_dir={damaged}")
    done = build(tmp_path / "beam", *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Id dummy-00: ") and done.stderr.count("\n") == 1
    assert "dummy-00_red.png is cut short" in done.stderr
    assert not (tmp_path / "beam").exists()
    assert build(tmp_path / "beam", *flags, "--policy=skip").returncode == 0
    build_plainly(tmp_path / "plain", *flags, "--policy=skip")
    assert "hpa/kaggle_512/3.0.0/rejects.csv" in digests(tmp_path / "beam")
    assert digests(tmp_path / "beam") == digests(tmp_path / "plain")


@pytest.mark.slow
def test_a_fault_while_writing(tmp_path):
    """The worker's traceback is in Beam's log; the last line is ours."""
    shutil.copytree(DUMMY, tmp_path / "manual")
    late = DAMAGED_LATE.format(path=str(tmp_path / "manual/train/dummy-03_blue.png"))
    done = build(
        tmp_path / "data", "--config=kaggle_512", f"--manual_dir={tmp_path / 'manual'}", before=late
    )
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    assert (
        last.startswith("error: the Beam pipeline failed: Id dummy-03: ")
        and "dummy-03_blue.png is empty" in last
    )
    assert "[while running" not in last
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_options_that_beam_does_not_know(tmp_path):
    for options, reason in (
        ("--direct_num_worker=2", "no option --direct_num_worker"),
        ("'", "quotation"),
    ):
        done = build(tmp_path / "data", "--config=synthetic_32", beam=options)
        assert done.returncode == 2
        assert (
            done.stderr.startswith("error: --beam=")
            and done.stderr.count("\n") == 1
            and reason in done.stderr
        )


@pytest.mark.slow
def test_tfds_s_own_command_with_a_runner(tmp_path, plain):
    command = [
        "tfds",
        "build",
        *KAGGLE,
        f"--data_dir={tmp_path / 'tfds'}",
        "--beam_pipeline_options=runner=FnApiRunner",
    ]
    done = in_its_environment(command, cwd=REPOSITORY / "tfds_builder/hpa")
    assert done.returncode == 0, done.stderr
    ours, theirs = digests(plain / "hpa"), digests(tmp_path / "tfds" / "hpa")
    assert {name for name in ours if ".tfrecord-" in name} <= theirs.keys() < ours.keys()
    # Their module is called by the folder that the command is run in, and TFDS alone writes no
    # digests of files and records.
    assert {name for name in theirs if theirs[name] != ours[name]} == {
        "kaggle_512/3.0.0/dataset_info.json",
        "kaggle_512/3.0.0/metadata.json",
    }


def test_beam_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert main(["--config=synthetic", f"--data_dir={tmp_path / 'data'}", "--beam="]) == 2
    assert (
        capsys.readouterr().err
        == "error: --beam needs the package apache_beam; pip install 'hpa_jax[build,beam]'\n"
    )
    assert not (tmp_path / "data").exists()


def test_keys_make_the_shards_of_the_ordinary_writer():
    rng = np.random.default_rng(0)
    for examples in (*range(1, 40), 1023, 1025, 6001):
        names = rng.permutation(examples)
        keys = shard_keys(names.tolist())
        in_order = sorted(keys)
        assert [keys.index(key) for key in in_order] == np.argsort(names).tolist()
        for shards in (1, 2, 3, 4, 7, 8, 16, 32, 64, 512, 1024, 3072):
            if shards <= examples:
                ends = shard_utils.get_shard_boundaries(examples, shards)
                wanted = np.searchsorted(ends, np.arange(examples), side="right").tolist()
                assert [
                    shuffle.get_bucket_number(key, shards, in_order[-1]) for key in in_order
                ] == wanted
