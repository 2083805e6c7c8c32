"""Filled-in channels as files: which, from what, of which size; and what a second start does."""

import csv
import json

import cv2
import numpy as np
import pytest

from hpa_jax.config import Config, Data
from hpa_jax.errors import InputError
from hpa_jax.evaluation.channel_figures import NET, RAW, RIDGE
from hpa_jax.images.prepare import Preparation
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.synthesize import figures
from hpa_jax.serving.synthesize.filling import shown_sources, with_filled
from hpa_jax.serving.synthesize.images import FolderImages, SplitImages
from hpa_jax.serving.synthesize.making import make_pictures
from hpa_jax.serving.synthesize.pictures import Pictures
from hpa_jax.serving.synthesize.run import synthesize, wanted_channels


class HalfRed:
    """A net: every channel is half of what red shows. It remembers what it was asked."""

    name = "half_red"
    targets = ("red", "yellow")
    sources = ("red", "blue", "yellow")
    size = 32

    def __init__(self):
        self.asked = []

    def fill(self, images, shown):
        self.asked.append((len(images), tuple(shown)))
        half = images[..., 0] // 2
        return np.stack([half, half], axis=-1)


def write_fields(folder, count=3, channels=("red", "blue"), size=(32, 48)):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        for channel in channels:
            plane = rng.integers(0, 256, size).astype(np.uint8)
            cv2.imwrite(str(folder / f"field{number}_{channel}.png"), plane)


def folder_images(folder, wanted=("yellow",)):
    request = Request(images=folder, out=folder, missing=("green",))
    return FolderImages(request, Preparation(32, aspect="pad"), wanted)


def test_pictures_are_of_the_images_size_and_a_second_start_makes_what_is_missing(tmp_path, capsys):
    write_fields(tmp_path / "plate")
    images = folder_images(tmp_path / "plate")
    net = HalfRed()
    shown = shown_sources(net, ("yellow",), images.missing)
    assert shown == ("red", "blue")
    settings = {"net": 1, "images": images.version}
    out = tmp_path / "out" / "synthesized"
    how = {"wanted": ("yellow",), "shown": shown, "batch": 2, "threads": 1}
    make_pictures(net, images, Pictures(out, settings), **how)
    assert net.asked == [(2, shown), (1, shown)]
    red = cv2.imread(str(tmp_path / "plate" / "field1_red.png"), -1)
    made = cv2.imread(str(out / "field1_yellow.png"), -1)
    assert made.shape == (32, 48) and np.corrcoef(made.ravel(), red.ravel())[0, 1] > 0.5

    (out / "field1_yellow.png").unlink()
    pictures = Pictures(out, settings)
    make_pictures(net, images, pictures, **how)
    assert net.asked[2:] == [(1, shown)] and "2 images were done before" in capsys.readouterr().out
    np.testing.assert_array_equal(pictures.read("field1", "yellow"), made)
    table = pictures.write_table(images.ids, ("yellow",), shown, "half_red, checkpoint 3")
    rows = list(csv.DictReader(table.open()))
    assert rows[0] == {
        "id": "field0",
        "channel": "yellow",
        "file": "field0_yellow.png",
        "from": "red blue",
        "net": "half_red, checkpoint 3",
    }
    # Another net's are made anew.
    assert not Pictures(out, settings | {"net": 2}).has("field0", "yellow")


def test_the_truth_is_no_source_and_figures_stand_beside_baselines(small_data, tmp_path):
    config = Config(data=Data(data_dir=str(small_data), name="synthetic_32", image_size=32))
    config.data.aspect = "pad"
    config.channels.baseline_images = 5
    images = SplitImages(config)
    assert images.missing == ()
    with pytest.raises(InputError, match="config.channels.fill=yellow"):
        wanted_channels(config, images, HalfRed.targets)
    config.channels.fill = "yellow"
    wanted = wanted_channels(config, images, HalfRed.targets)
    shown = shown_sources(HalfRed(), wanted)
    pictures = Pictures(tmp_path / "synthesized", {})
    make_pictures(HalfRed(), images, pictures, wanted, shown, batch=8, threads=1)
    rows = figures.rows_of_figures(config, images, pictures, wanted, shown)
    assert [row["method"] for row in rows] == [NET, RIDGE, RAW]
    net, ridge, raw = rows
    # Half of a channel is that channel to Pearson, but for rounding.
    assert raw["images"] == 8 and net["pearson"] == pytest.approx(
        np.mean([np.corrcoef(images.read(n).square[..., 0].ravel() // 2,
                             images.read(n).square[..., 3].ravel())[0, 1] for n in range(8)])
    )  # fmt: skip
    assert net["pearson_over_ridge"] == pytest.approx(net["pearson"] - ridge["pearson"])


def test_one_image_with_a_channel_made_from_the_others():
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 4)).astype(np.uint8)
    net = HalfRed()
    filled = with_filled(net, Preparation(32), image, None, ("yellow",), ("red", "blue"))
    np.testing.assert_array_equal(filled[..., 3], image[..., 0] // 2)
    np.testing.assert_array_equal(filled[..., :3], image[..., :3])


def test_what_cannot_be_made_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="not learnt to make blue; it makes red, yellow"):
        shown_sources(HalfRed(), ("blue",))
    with pytest.raises(InputError, match="nothing to make red from"):
        shown_sources(HalfRed(), ("red",), ("blue", "yellow"))
    write_fields(tmp_path / "plate", channels=("red",))
    with pytest.raises(InputError, match="has no blue"):
        folder_images(tmp_path / "plate")
    inside = tmp_path / "plate" / "synthesized"
    with pytest.raises(InputError, match="lies in the folder of the images"):
        Pictures(inside, {}, tmp_path / "plate")
    with pytest.raises(InputError, match="not of this program"):
        Pictures(tmp_path / "plate", {})


@pytest.mark.slow
def test_a_run_fills_in_what_is_missing(run_quickly, small_data, tmp_path):
    flags = (
        "--config=configs/channels.py",
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.image_size=32",
        "--config.data.batch_size=8",
        "--config.model.name=densenet_tiny",
        "--config.train.steps=2",
    )
    where = f"--workdir={tmp_path / 'run'}"
    done = run_quickly(*flags, where)
    assert done.returncode == 0, done.stderr
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    pairs = [name for name in last if name.startswith("pearson_")]
    assert last["pearson"] == pytest.approx(np.mean([last[name] for name in pairs]), abs=1e-6)
    fill = ("--mode=synthesize", where, "--config.channels.fill=red,yellow")
    done = run_quickly(*fill, "--config.channels.baseline_images=4")
    assert done.returncode == 0, done.stderr
    assert "| red <- blue | ridge on blurred channels |" in done.stdout
    assert len(list((tmp_path / "run" / "synthesized").glob("*.png"))) == 16
    refused = run_quickly("--mode=predict", where)
    assert refused.returncode == 2 and "has learnt to fill in channels" in refused.stderr
    with pytest.raises(InputError, match="has learnt labels"):
        synthesize(Config(), tmp_path / "run")
