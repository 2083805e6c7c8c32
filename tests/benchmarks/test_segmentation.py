"""benchmarks/segmentation.py on anyone's images and masks."""

import json

import cv2
import segmentation

from hpa_jax.labels import CHANNELS
from hpa_jax.segmentation.label_image import encode_png
from tfds_builder.hpa.synthetic.render import cells_of, render


def test_figures_of_a_folder_with_masks(tmp_path, capsys):
    for index in range(2):
        field = render(0, index, [0], 96)
        for number, channel in enumerate(CHANNELS):
            cv2.imwrite(str(tmp_path / f"{index}_{channel}.png"), field[..., number])
    owner = cells_of(0, 0, 96).owner
    (tmp_path / "0_masks.png").write_bytes(encode_png(owner + 1))
    rows = tmp_path / "rows.json"
    flags = [f"--fields={tmp_path}", "--images=1", f"--json={rows}"]
    segmentation.SIZES, sizes = (96,), segmentation.SIZES
    try:
        assert segmentation.main(flags) == 0
    finally:
        segmentation.SIZES = sizes
    assert "synthetic, 96 px" in capsys.readouterr().out
    found = {row["name"]: row for row in json.loads(rows.read_text())}
    own = found["classical: masks, own size"]
    assert own["fields"] == 1 and own["cells"] == owner.max() + 1
    # The same field, read from files and drawn.
    drawn = found["classical: synthetic, 96 px"]
    assert own["aji"] > 0.4 and drawn["cells"] == own["cells"]
    for row in found.values():
        assert 0 <= row["ap_75"] <= row["value"] <= 1
