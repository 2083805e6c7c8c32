"""Draws the ten tiny fields beside this file (16 x 16 pixels, Kaggle's layout): `python make_dummy_data.py`.

No image of the Atlas is in them.
"""

import csv
from pathlib import Path

import cv2
import numpy as np

from hpa_jax.labels import CHANNELS

HERE = Path(__file__).parent
LABELS = ("0", "0 25", "25", "0", "2", "2 0", "21", "7", "23 0", "0")


def main() -> None:
    rng = np.random.default_rng(0)
    (HERE / "train").mkdir(exist_ok=True)
    y, x = np.mgrid[:16, :16]
    with open(HERE / "train.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["Id", "Target"])
        for number, labels in enumerate(LABELS):
            rows.writerow([f"dummy-{number:02d}", labels])
            for channel in CHANNELS:
                at = rng.uniform(4, 12, 2)
                spot = 255 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / rng.uniform(8, 40))
                cv2.imwrite(
                    str(HERE / "train" / f"dummy-{number:02d}_{channel}.png"), spot.astype(np.uint8)
                )


if __name__ == "__main__":
    main()
