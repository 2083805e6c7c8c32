"""Anyone's images, through the builder's front door: a folder, a csv, and other labels than 28."""

from pathlib import Path

import cv2
import numpy as np

from tfds_builder.hpa.__main__ import main

NAMES = ("nucleus", "rim, inner", "golgi", "cytosol")
CHANNELS = ("red", "green", "blue", "yellow")


def build_own(
    data_dir: Path,
    name: str,
    *flags: str,
    rows: list[str],
    header: str = "Id,Target",
    shape: tuple[int, int] = (32, 32),
    channels: tuple[str, ...] = CHANNELS,
    seed: int = 0,
) -> None:
    """Builds `data_dir/hpa/NAME` of noise images, one for each row of the csv.

    Args:
      data_dir: of the datasets.
      name: of the new one.
      flags: further ones of the builder.
      rows: of the csv, each beginning with an Id.
      header: of the csv.
      shape: height and width.
      channels: that were imaged.
      seed: of the noise; the files of two seeds are no near-duplicates.
    """
    source = data_dir / f"source_{name}"
    source.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for row in rows:
        image_id = row.partition(",")[0]
        for channel in channels:
            blobs = cv2.GaussianBlur(rng.random(shape), (0, 0), 3)
            pixels = cv2.normalize(blobs, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
            assert cv2.imwrite(str(source / f"{image_id}_{channel}.png"), pixels)
    (source / "rows.csv").write_text("\n".join([header, *rows]) + "\n")
    arguments = [
        "--config=folder",
        f"--name={name}",
        f"--manual_dir={source}",
        f"--data_dir={data_dir}",
        "--csv=rows.csv",
        "--pattern={id}_{channel}.png",
        "--channels=" + ",".join(f"{channel}={channel}" for channel in channels),
        "--workers=1",
        *flags,
    ]
    assert main(arguments) == 0


def ids(count: int, prefix: str = "image") -> list[str]:
    return [f"{prefix}_{number}" for number in range(count)]
