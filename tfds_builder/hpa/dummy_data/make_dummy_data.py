"""Draws the ten tiny images beside this file (16 x 16 pixels, Kaggle's layout).

    python make_dummy_data.py

No image of the Atlas is among them.
"""

import csv
from pathlib import Path

import cv2
import numpy as np

from hpa_jax.labels import CHANNELS

HERE = Path(__file__).parent
SIZE = 16
LABELS = ("0", "0 25", "25", "0", "2", "2 0", "21", "7", "23 0", "0")


def draw_spot(rng: np.random.Generator) -> np.ndarray:
    """One blurred spot, uint8 [16, 16]."""
    y, x = np.mgrid[:SIZE, :SIZE]
    centre_y, centre_x = rng.uniform(4, 12, 2)
    spot = 255 * np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / rng.uniform(8, 40))
    return spot.astype(np.uint8)


def main() -> None:
    """Writes train.csv and train/."""
    rng = np.random.default_rng(0)
    (HERE / "train").mkdir(exist_ok=True)
    with open(HERE / "train.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["Id", "Target"])
        for number, labels in enumerate(LABELS):
            id = f"dummy-{number:02d}"
            rows.writerow([id, labels])
            for channel in CHANNELS:
                path = HERE / "train" / f"{id}_{channel}.png"
                cv2.imwrite(str(path), draw_spot(rng))


if __name__ == "__main__":
    main()
