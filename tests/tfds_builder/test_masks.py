"""Varied synthetic fields, their exact masks, and datasets that hold them."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpa_jax.config import Data
from hpa_jax.data import pipeline
from hpa_jax.data.catalog import load_dataset
from hpa_jax.data.loader import eval_batches
from hpa_jax.data.masks import decode_masks, encode_masks
from hpa_jax.data.metadata import read_metadata
from hpa_jax.errors import InputError
from hpa_jax.images.resize import fit_square_masks
from tfds_builder.hpa.__main__ import main
from tfds_builder.hpa.synthetic.layout import MITOTIC
from tfds_builder.hpa.synthetic.masks import instance_masks
from tfds_builder.hpa.synthetic.render import cells_of, render

GOLDEN = Path(__file__).parents[1] / "golden/synthetic_fields.npz"
"""`render(0, 0, (0,), 32)` and `render(3, 5, (7, 21), 64)`, drawn before fields could vary."""


def test_fields_that_do_not_vary_are_drawn_as_ever():
    golden = np.load(GOLDEN)
    for name, drawn in (
        ("seed0_index0_size32", render(0, 0, (0,), 32)),
        ("seed3_index5_size64", render(3, 5, (7, 21), 64)),
    ):
        # Another build of OpenCV may round a blur otherwise; another draw changes every pixel.
        difference = np.abs(drawn.astype(int) - golden[name])
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


def test_varied_fields_differ_in_cells_and_brightness():
    counts = []
    means = []
    for index in range(16):
        image = render(1, index, (index,), 64, vary=True)
        np.testing.assert_array_equal(image, render(1, index, (index,), 64, vary=True))
        counts.append(len(np.unique(cells_of(1, index, 64, vary=True).owner)))
        means.append(image[..., [0, 2, 3]].mean())
    assert max(counts) > 2 * min(counts) and max(means) > 2.5 * min(means)
    # A quarter of them, drawn by chance, is plain.
    is_plain = [
        np.array_equal(render(1, i, (i,), 64), render(1, i, (i,), 64, True)) for i in range(16)
    ]
    assert 1 <= sum(is_plain) <= 8


@pytest.mark.parametrize("vary", [False, True])
def test_a_nucleus_lies_in_its_cell_and_dividing_cells_have_none(vary):
    for index in range(4):
        cells = cells_of(2, index, 96, vary)
        masks = instance_masks(cells)
        assert masks.dtype == np.uint16 and masks.shape == (96, 96, 2)
        np.testing.assert_array_equal(masks[..., 0].astype(int) - 1, cells.owner)
        own, nuclei = masks[..., 0], masks[..., 1]
        assert (own[nuclei > 0] == nuclei[nuclei > 0]).all()
        assert not np.isin(np.flatnonzero(cells.kind == MITOTIC) + 1, nuclei).any()
        np.testing.assert_array_equal(nuclei > 0, cells.nuclear <= 0)


def test_codecs_and_damage():
    masks = np.random.default_rng(0).integers(0, 999, (9, 7, 2), np.uint16)
    for codec in ("png", "zstd"):
        data = encode_masks(masks, codec)
        np.testing.assert_array_equal(decode_masks(data), masks)
        damaged = bytearray(data)
        damaged[-9] ^= 1
        with pytest.raises(ValueError):
            decode_masks(bytes(damaged))
    with pytest.raises(ValueError, match="uint16"):
        encode_masks(masks.astype(np.int32), "png")
    with pytest.raises(ValueError, match="no data"):
        decode_masks(b"")


def test_masks_are_resized_by_the_nearest_pixel():
    masks = np.zeros((4, 8, 2), np.uint16)
    masks[1:3, 2:6] = 300
    for aspect, count in (("pad", 8), ("crop", 8), ("stretch", 16)):
        squared = fit_square_masks(masks, 8 if aspect != "crop" else 4, aspect)
        assert set(np.unique(squared)) == {0, 300} and (squared[..., 0] > 0).sum() == count


def test_a_dataset_with_masks(tmp_path, capsys):
    flags = ["--config=synthetic_32", "--images=12", f"--data_dir={tmp_path}", "--workers=1"]
    assert main([*flags, "--masks", "--vary", "--seed=4"]) == 0
    assert "--config=configs/cells_unet.py" in capsys.readouterr().out
    assert main([*flags, "--name=plain", "--near_duplicates=off"]) == 0
    build = read_metadata(tmp_path / "hpa/synthetic_32/3.0.0")["build"]
    assert build["masks"] is True and build["vary"] is True
    plain = tmp_path / "hpa/plain/3.0.0"
    # Neither is anywhere in a dataset without them, whose bytes are as they were.
    assert not {"masks", "vary"} & set(read_metadata(plain)["build"])
    assert "masks" not in json.dumps(json.loads((plain / "features.json").read_text()))

    dataset = load_dataset(tmp_path, "synthetic_32", split="train", with_masks=True)
    for i, name in enumerate(dataset.ids()):
        index = int(name.rsplit("-", 1)[1])
        wanted = instance_masks(cells_of(4, index, 32, vary=True))
        np.testing.assert_array_equal(dataset[i]["masks"], wanted)
    assert "masks" not in load_dataset(tmp_path, "synthetic_32", split="train")[0]

    data = Data(data_dir=str(tmp_path), name="synthetic_32", image_size=64)
    batch = next(
        iter(eval_batches(pipeline.open_split(data, "test", with_masks=True), batch_size=8))
    )
    assert batch["masks"].shape == (8, 64, 64, 2) and batch["masks"].dtype == np.uint16
    assert not batch["masks"][~batch["mask"]].any()
    assert pipeline.open_sources(data, with_masks=True)[0]["masks"].shape == (64, 64, 2)

    with pytest.raises(InputError, match="no instance masks.*--masks"):
        load_dataset(tmp_path, "plain", split="train", with_masks=True)
    capsys.readouterr()
    assert main([*flags, "--masks", "--seed=4"]) == 2
    assert "vary True, not None" in capsys.readouterr().err
    assert main(["--config=kaggle_512", "--masks", f"--data_dir={tmp_path}"]) == 2
    assert "--masks is for --config=synthetic alone" in capsys.readouterr().err
