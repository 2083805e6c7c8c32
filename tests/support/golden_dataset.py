"""Writes the datasets of tests/golden/version_0_3, as version 0.3 first built them.

    PYTHONPATH=.:tests python -m support.golden_dataset DATA_DIR

`kept` has all that version 3.0.0 of the datasets has room for, except images whose labels are
unknown: these are in `unlabelled`, beside images that are known to have none.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from hpa_jax.data.catalog import SPLITS, load_dataset, read_channel_statistics
from hpa_jax.labels import HPA_2018, Vocabulary
from tfds_builder.hpa import prepare
from tfds_builder.hpa.build import Build
from tfds_builder.hpa.sources import Example, Fault, Listing, SourceImage, no_progress
from tfds_builder.hpa.synthetic.render import render

KEPT = 21
ODD = {
    "plate-1": "plate 1/A01 caf\u00e9.ome",
    "plate-2": "=HYPERLINK(1)",
}
"""Original Ids of the first two images."""


@dataclass(frozen=True)
class DrawnSource:
    """Synthetic images of 32 px under Ids of their own; yellow was not imaged."""

    images: int
    unlabelled: bool = False
    manual_dir: ClassVar[None] = None
    vocabulary: ClassVar[Vocabulary] = HPA_2018

    def settings(self) -> dict:
        """See `Source.settings`."""
        return {"source": "drawn", "images": self.images, "pixel_size": 0.25}

    def examples(self, progress=no_progress) -> Listing:
        """See `Source.examples`."""
        examples = []
        for index in range(self.images):
            id = f"plate-{index + 1}"
            labels = (index % 3, 5 + index % 4)
            known = True
            if self.unlabelled:
                labels = ()
                known = index % 2 == 0
            group_key = f"=donor {index // 2}" if index < 4 else ""
            original = ODD.get(id, "")
            examples.append(Example(id, labels, index, group_key, original, known))
        faults = (
            [] if self.unlabelled else [Fault("plate-0", "d/\x1b[31m.tif", "is empty; fetch it")]
        )
        return Listing(examples, faults)

    def image(self, example: Example) -> np.ndarray:
        """See `Source.image`. The last image is the one before it again, brighter."""
        index = example.index
        is_copy = index == KEPT - 1
        drawn_index = index - 1 if is_copy else index
        drawn = render(3, drawn_index, [drawn_index % 3], 32).copy()
        drawn[..., 3] = 0
        if is_copy:
            return np.minimum(drawn * 1.1, 255).astype(np.uint8)
        return drawn

    def read(self, example: Example) -> SourceImage:
        """See `Source.read`."""
        return SourceImage(self.image(example))

    def judge(self, largest, histogram=None) -> list[str]:
        """See `Source.judge`."""
        return []


def build_all(data_dir: Path) -> None:
    """Builds both datasets."""
    for name, source in (("kept", DrawnSource(KEPT)), ("unlabelled", DrawnSource(6, True))):
        build = Build(source, policy="skip", test=0.2, folds=3)
        prepare.build(build, name, "Drawn for a test.", data_dir, workers=1)


def observed(data_dir: Path) -> dict:
    """What is read of `kept`, as JSON; pixels by their SHA-256."""
    found = {"statistics": read_channel_statistics(data_dir, "kept")}
    for split in SPLITS:
        dataset = load_dataset(data_dir, "kept", split=split)
        pixels = [dataset.image(i).tobytes() for i in range(len(dataset))]
        found[split] = {
            "ids": dataset.ids(),
            "original_ids": dataset.original_ids(),
            "labels": [np.flatnonzero(row).tolist() for row in dataset.targets()],
            "folds": dataset.folds().tolist(),
            "groups": dataset.groups().tolist(),
            "sizes": dataset.sizes().tolist(),
            "pixels": [hashlib.sha256(data).hexdigest()[:16] for data in pixels],
        }
    return json.loads(json.dumps(found))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    build_all(target / "data")
    (target / "expected_data.json").write_text(
        json.dumps(observed(target / "data"), indent=1) + "\n"
    )
