"""The images of near_duplicates.py, and what is done to copies of them."""

import csv
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import checkout  # noqa: F401
import cv2
import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.synthetic import render

GREEN = CHANNELS.index("green")
SIZES = (48, 64, 160)  # of the synthetic images, pixels


def image_sets(cells: int, drawn: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Titles and images uint8 [H, W, 4] of each set whose folder is named in the environment."""
    if "HPA_SAMPLE_DIR" in os.environ:
        sample = _read_sample(Path(os.environ["HPA_SAMPLE_DIR"]))
        yield "sample", sample
        yield "sample_green", [_green_alone(image[..., GREEN]) for image in sample]
    if "HPA_HEP2_DIR" in os.environ and cells:
        yield "hep2", _read_hep2(Path(os.environ["HPA_HEP2_DIR"]), cells)
    for size in SIZES if drawn else ():
        labels = render.draw_labels(0, drawn, "real")
        images = [render.render(0, index, labels[index], size) for index in range(drawn)]
        yield f"synthetic_{size}", images
        yield f"synthetic_{size}_green", [_green_alone(image[..., GREEN]) for image in images]


def _green_alone(plane: np.ndarray) -> np.ndarray:
    image = np.zeros((*plane.shape, len(CHANNELS)), np.uint8)
    image[..., GREEN] = plane
    return image


def _read_sample(folder: Path) -> list[np.ndarray]:
    """The challenge's images of 512 px."""
    train = folder / "kaggle_512" / "train"
    ids = sorted({path.stem.rpartition("_")[0] for path in train.glob("*.png")})
    if not ids:
        raise InputError(f"{train} has no images; set HPA_SAMPLE_DIR to the folder of the sample")
    images = []
    for id in ids:
        planes = [cv2.imread(str(train / f"{id}_{name}.png"), 0) for name in CHANNELS]
        images.append(np.stack(planes, axis=-1))
    return images


def _read_hep2(folder: Path, cells: int) -> list[np.ndarray]:
    """The first training cells."""
    path = folder / "hep2.zip"
    if not path.is_file():
        raise InputError(f"{path} is not there; set HPA_HEP2_DIR to its folder")
    images = []
    with zipfile.ZipFile(path) as archive:
        table = io.TextIOWrapper(archive.open("labels.csv"), "utf-8")
        ids = [row["Id"] for row in csv.DictReader(table) if row["split"] == "train"]
        for id in ids[:cells]:
            data = np.frombuffer(archive.read(f"images/{id}_green.png"), np.uint8)
            images.append(_green_alone(cv2.imdecode(data, 0)))
    return images


def recompress(image: np.ndarray, quality: int) -> np.ndarray:
    """Each channel through JPG and back."""
    planes = []
    for channel in range(image.shape[-1]):
        plane = np.ascontiguousarray(image[..., channel])
        _, data = cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, quality])
        planes.append(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    return np.stack(planes, axis=-1)


def scale(image: np.ndarray, factor: float) -> np.ndarray:
    """Brighter or darker."""
    return np.clip(np.round(image * factor), 0, 255).astype(np.uint8)


def resize(image: np.ndarray, factor: float) -> np.ndarray:
    """Larger or smaller."""
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=way)


ALTERATIONS = {
    "JPG 50": lambda image: recompress(image, 50),
    "half": lambda image: resize(image, 0.5),
    "double": lambda image: resize(image, 2.0),
    "x 0.7": lambda image: scale(image, 0.7),
    "x 1.3": lambda image: scale(image, 1.3),
    "1 px": lambda image: np.roll(image, (1, 1), (0, 1)),
    "rim": lambda image: image[1:-1, 1:-1],
    "x 1.2, half, JPG 75": lambda image: recompress(resize(scale(image, 1.2), 0.5), 75),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
}
"""Mirrored images are not sought: nearly all of those should be missed."""
