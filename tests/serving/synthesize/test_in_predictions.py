"""Channels that are made before another net scores: which, of what, and that every row says so."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pyarrow import parquet
from support.exports import tiny_export

from hpa_jax.errors import InputError
from hpa_jax.images.prepare import Preparation
from hpa_jax.serving.__main__ import main
from hpa_jax.serving.kinds import FILLED_CHANNELS, LABELS, check_kind
from hpa_jax.serving.predict.outputs import format_of
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.predict.rows import Row
from hpa_jax.serving.predict.synthesis import Synthesis, open_synthesis
from hpa_jax.serving.predict.tables.content import Content
from hpa_jax.serving.synthesize.exported import ExportedFiller


def half_red():
    """A net: yellow is half of what red shows."""

    def fill(images, shown):
        assert not set(shown) & {"yellow"}
        return images[..., :1] // 2

    return SimpleNamespace(
        name="half_red", targets=("yellow",), sources=("red", "green", "blue"), size=32, fill=fill
    )


def synthesis(**settings):
    made = {
        "seen": ("green", "blue", "yellow"),
        "wanted": ("yellow",),
        "missing": ("yellow",),
        "version": "1",
    }
    return Synthesis(half_red(), Preparation(32), **(made | settings))


def test_a_missing_channel_is_made_and_what_the_other_net_does_not_see_is_black():
    make = synthesis()
    assert make.shown == ("red", "green", "blue")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 4)).astype(np.uint8)
    image[..., 3] = 0
    made = make(image, None)
    np.testing.assert_array_equal(made[..., 3], image[..., 0] // 2)
    np.testing.assert_array_equal(made[..., 1:3], image[..., 1:3])
    assert not made[..., 0].any() and not image[..., 3].any()
    assert synthesis(missing=("yellow", "blue")).version != make.version
    with pytest.raises(InputError, match="nothing to make yellow from"):
        synthesis(missing=("red", "blue", "yellow"))


def test_nothing_is_made_unless_it_is_asked_for_and_missing(tmp_path):
    request = Request(images=tmp_path, out=tmp_path / "scores.csv", missing=("yellow",))
    assert open_synthesis(request, Preparation(32)) is None
    sees = Preparation(32, channels=("red", "green"))
    with pytest.raises(InputError, match="no channel that the net sees .red, green. is missing"):
        open_synthesis(dataclasses.replace(request, synthesize=tmp_path), sees)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_every_row_says_what_was_made(tmp_path, suffix):
    scores = np.array([[0.9, 0.1]], np.float32)
    names = [{"id": 0, "name": "Nucleoli"}, {"id": 1, "name": "synthesized"}]
    content = Content(
        description={"labels": names, "thresholds": [0.5, 0.5], "empty": "no label"},
        card="",
        net="digest",
        about={"missing": ["blue"], "synthesized": ["red", "yellow"], "backend": "onnx"},
        count=1,
        embedding_size=0,
        scored=lambda: iter([Row("a", "", scores[0])]),
        note_of=lambda row: "",
    )
    path = tmp_path / f"table{suffix}"
    kind = format_of(path)
    kind.write(path, content)
    assert kind.is_ours(path)
    if suffix == ".npy":
        assert json.loads(path.with_suffix(".json").read_text())["synthesized"] == ["red", "yellow"]
        return
    if suffix == ".csv":
        (row,) = csv.DictReader(path.open())
    else:
        (row,) = parquet.read_table(path).to_pylist()
    assert (row["missing"], row["synthesized"]) == ("blue", "red yellow")
    assert float(row["synthesized (label)"]) == pytest.approx(0.1)


def test_an_export_of_another_kind_is_refused_with_what_it_is_for():
    with pytest.raises(InputError, match="runs/c is an export of another kind: it fills in"):
        check_kind({"kind": FILLED_CHANNELS}, "runs/c", LABELS)
    with pytest.raises(InputError, match="tells which labels an image has"):
        check_kind({}, "runs/labels", FILLED_CHANNELS)
    check_kind({}, "runs/labels", LABELS)


@pytest.mark.slow
def test_an_export_fills_in_and_is_no_classifier(run_quickly, small_data, tmp_path):
    where = f"--workdir={tmp_path / 'run'}"
    done = run_quickly(
        "--config=configs/channels.py",
        where,
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.image_size=32",
        "--config.data.batch_size=8",
        "--config.model.name=densenet_tiny",
        "--config.model.dtype=float32",
        "--config.train.steps=2",
    )
    assert done.returncode == 0, done.stderr
    done = run_quickly("--mode=export", where)
    assert done.returncode == 0, done.stderr
    export = tmp_path / "run" / "export"
    assert json.loads((export / "model.json").read_text())["kind"] == FILLED_CHANNELS
    assert main(["check", str(export)]) == 0
    plate = tmp_path / "plate"
    plate.mkdir()
    rng = np.random.default_rng(0)
    for channel in ("red", "green", "blue"):
        cv2.imwrite(str(plate / f"a_{channel}.png"), rng.integers(0, 256, (40, 32), np.uint8))
    classifier = tiny_export(tmp_path / "classifier")
    flags = ["predict", str(classifier), str(plate), "--missing=yellow"]
    assert main([*flags, f"--out={tmp_path / 'black.csv'}"]) == 0
    assert main([*flags, f"--synthesize={export}", f"--out={tmp_path / 'made.csv'}"]) == 0
    (black,) = csv.DictReader((tmp_path / "black.csv").open())
    (made,) = csv.DictReader((tmp_path / "made.csv").open())
    assert "synthesized" not in black and black["missing"] == "yellow"
    assert (made["missing"], made["synthesized"]) == ("", "yellow")
    assert made["Nucleoli"] != black["Nucleoli"]

    # The run itself makes the same of the same files, to a grey level.
    fill = ("--mode=synthesize", where, f"--config.predict.images={plate}")
    done = run_quickly(*fill, "--config.channels.fill=yellow", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    by_run = cv2.imread(str(tmp_path / "out" / "synthesized" / "a_yellow.png"), -1)
    filler = ExportedFiller(export)
    make = Synthesis(
        filler,
        filler.preparation,
        seen=("red", "green", "blue", "yellow"),
        wanted=("yellow",),
        missing=("yellow",),
        version="",
    )
    planes = [
        cv2.imread(str(plate / f"a_{channel}.png"), -1) for channel in ("red", "green", "blue")
    ]
    pixels = np.stack([*planes, np.zeros_like(planes[0])], axis=-1)
    difference = make(pixels, None)[..., 3].astype(int) - by_run
    assert abs(difference).max() <= 1
    for command in (
        ["predict", str(export), str(plate), f"--out={tmp_path / 'x.csv'}"],
        ["serve", str(export)],
        ["page", str(export), str(tmp_path / "x.html")],
    ):
        with pytest.raises(InputError, match="it fills in channels"):
            main(command)
