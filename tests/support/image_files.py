"""Image files of a source, as other programs write them, and what is asked of a faulty one."""

import io
import os
import pickle
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.sources import Fault

SAMPLE = os.environ.get("HPA_SAMPLE_DIR")
sample = pytest.mark.skipif(SAMPLE is None, reason="HPA_SAMPLE_DIR is not set")
PLANES = {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}


def smooth(shape=(40, 48), seed=0, top=255):
    """Something like a channel: blobs, of values 0 to `top`."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(shape), (0, 0), 4)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return np.round(noise * top).astype(np.uint8 if top < 256 else np.uint16)


def coloured(gray, channel):
    image = np.zeros((*gray.shape, 3), gray.dtype)
    image[..., PLANES[channel]] = gray[..., None]
    return image


def encoded(image, kind, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def jpg(gray, channel, **options):
    return encoded(coloured(gray, channel), "jpeg", **{"quality": 90, "subsampling": 2} | options)


def write(folder, name, make, rows="Id,Target\na_1,3\nb_2,0 16\n"):
    """A source's folder: the csv, and `make(channel, seed)` for each file of a_1 and b_2."""
    csv, pattern = name
    for number, id in enumerate(("a_1", "b_2")):
        for channel, colour in enumerate(CHANNELS):
            path = folder / pattern.format(id=id, channel=colour)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make(colour, 10 * number + channel))
    (folder / csv).write_text(rows)
    return folder


KAGGLE = ("train.csv", "train/{id}_{channel}.png")
KAGGLE_FULL = ("train.csv", "train/{id}_{channel}.tif")
HPAV18 = ("labels.csv", "images/{id}_{channel}.jpg")
FOLDER = ("labels.csv", "images/{id}_{channel}.png")


def gray_png(colour, seed):
    return encoded(smooth(seed=seed), "png")


def gray_tif(colour, seed):
    return encoded(smooth(seed=seed), "tiff", compression="tiff_lzw")


def colour_jpg(colour, seed):
    return jpg(smooth(seed=seed), colour)


LAYOUTS = {
    "kaggle_512": (layouts.kaggle_512, KAGGLE, gray_png),
    "kaggle_full": (layouts.kaggle_full, KAGGLE_FULL, gray_tif),
    "hpav18": (layouts.hpav18, HPAV18, colour_jpg),
    "folder": (layouts.folder, FOLDER, gray_png),
}

each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def zipped(folder, path, packing=zipfile.ZIP_DEFLATED, under=""):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file != path:
                archive.write(file, f"{under}{file.relative_to(folder)}")
    return path


def assert_fault(source, path, reason, id="a_1"):
    """One fault by the listing or else by decoding; the other image is as good as before."""
    listing = source.examples()
    if listing.faults:
        (fault,) = listing.faults
        assert [example.id for example in listing.examples] == ["b_2"]
    else:
        with pytest.raises(Fault) as error:
            source.image(listing.examples[0])
        fault = error.value
    assert source.image(listing.examples[-1]).any()
    assert (fault.id, fault.file) == (id, str(path))
    assert reason in fault.reason and "; " in fault.reason and "\n" not in str(fault), fault.reason
    assert pickle.loads(pickle.dumps(fault)).args == fault.args  # it comes back from a worker
