"""A net that finds cells, once it is exported: fields of any size, its scale, what refuses it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.cell_runs import cell_run

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.segmentation.measures import match, overlaps
from hpa_jax.serving import kinds
from hpa_jax.serving.__main__ import main
from hpa_jax.serving.segment.methods import open_segmenter
from hpa_jax.serving.segment.request import SegmentRequest
from hpa_jax.serving.segment.unet import CellFinder
from hpa_jax.serving.served import Served


def discs(size, radius, step):
    """A field of cells whose nuclei are discs, far apart: uint8 [size, size, 4]."""
    field = np.zeros((size, size, 4), np.uint8)
    for y in range(step // 2, size, step):
        for x in range(step // 2, size, step):
            for channel, reach in ((0, 2 * radius), (2, radius), (3, 2 * radius)):
                plane = np.ascontiguousarray(field[..., channel])
                cv2.circle(plane, (x, y), round(reach), 180, -1)
                field[..., channel] = plane
    return field


def by_brightness(diameters=(12.0, 13.0, 15.0), tile=64):
    """A net whose maps are how bright channels are: enough where cells do not touch."""

    def call(images, outputs):
        assert images.shape[1:] == (tile, tile, 4) and outputs == ("maps",)
        red = images[..., 0] > 60
        blue = images[..., 2] > 60
        return {"maps": np.stack([red, red, blue, blue], axis=-1).astype(np.float32)}

    description = {
        "kind": kinds.CELL_MASKS,
        "input": {"shape": ["B", tile, tile, 4]},
        "nucleus_diameters": list(diameters),
    }
    return Served(Path("made"), description, "onnx", ("maps",), call, dict)


@pytest.mark.parametrize(("size", "radius", "step"), [(40, 5, 40), (150, 5, 50), (400, 20, 200)])
def test_fields_of_any_size_have_masks_of_their_own_size(size, radius, step):
    field = discs(size, radius, step)
    finder = CellFinder(by_brightness())
    found = finder(field)
    assert found.cells.shape == found.nuclei.shape == (size, size)
    assert found.cells.dtype == np.int32
    truth = cv2.connectedComponents((field[..., 0] > 0).astype(np.uint8))[1]
    count = (size // step) ** 2
    assert found.count == count == truth.max()
    assert match(overlaps(truth, found.cells), 0.8).true_positives == count
    nuclei = cv2.connectedComponents((field[..., 2] > 0).astype(np.uint8))[1]
    assert match(overlaps(nuclei, found.nuclei), 0.7).true_positives == count


def test_the_scale_follows_from_the_nuclei_or_is_told():
    finder = CellFinder(by_brightness())
    assert finder.scale_of(discs(150, 5, 50)) == 1.0
    assert finder.scale_of(discs(400, 20, 200)) == pytest.approx(0.3, rel=0.1)
    assert finder.scale_of(discs(40, 2, 20)) > 1.5
    assert finder.scale_of(np.zeros((64, 64, 4), np.uint8)) == 1.0
    assert CellFinder(by_brightness(), 0.5).scale_of(discs(150, 5, 50)) == 0.5
    enlarged = CellFinder(by_brightness(), 2.0)(discs(64, 6, 64))
    assert enlarged.cells.shape == (64, 64) and enlarged.count == 1


@pytest.mark.parametrize(
    ("request_of", "message"),
    [
        ({"method": "unet"}, "--weights=EXPORT"),
        ({"method": "unet", "weights": Path("nowhere")}, "no complete export"),
        ({"method": "classical", "scale": 0.5}, "scale=0.5: classical"),
    ],
)
def test_wrong_requests(request_of, message):
    with pytest.raises(InputError, match=message):
        open_segmenter(SegmentRequest(out=Path("out"), **request_of))


def test_an_export_of_another_kind_is_refused_with_what_it_is_for():
    kinds.check_kind({}, "here", kinds.LABELS)
    with pytest.raises(InputError, match="it finds cells.*--method=unet"):
        kinds.check_kind({"kind": kinds.CELL_MASKS}, "here", kinds.LABELS)
    with pytest.raises(InputError, match="which labels"):
        kinds.check_kind({}, "here", kinds.CELL_MASKS)
    with pytest.raises(InputError, match="'later'"):
        kinds.check_kind({"kind": "later"}, "here", kinds.LABELS)


@pytest.mark.slow
def test_a_run_is_exported_and_segments_a_folder(run_quickly, tmp_path, capsys):
    workdir = cell_run(run_quickly)
    export = tmp_path / "export"
    done = run_quickly("--mode=export", f"--workdir={workdir}", f"--config.export.folder={export}")
    assert done.returncode == 0 and "maps of cells and nuclei" in done.stdout, done.stderr
    description = json.loads((export / "model.json").read_text())
    assert description["kind"] == kinds.CELL_MASKS and str(workdir) not in str(description)

    fields = tmp_path / "fields"
    fields.mkdir()
    for size in (40, 150):
        field = discs(size, 5, 40)
        for channel, name in enumerate(CHANNELS):
            cv2.imwrite(str(fields / f"f{size}_{name}.png"), field[..., channel])
    for backend_out in ("once", "once"):  # the second start finds all done
        out = tmp_path / backend_out
        flags = ("--method=unet", f"--weights={export}", f"--out={out}")
        assert main(["segment", str(fields), *flags]) == 0
    masks = cv2.imread(str(tmp_path / "once/masks/f150_cells.png"), cv2.IMREAD_UNCHANGED)
    assert masks.shape == (150, 150) and masks.dtype == np.uint16
    assert main([str(export)]) == 0
    assert "reproduced by onnx" in capsys.readouterr().out
    for command in (["predict", str(export), str(fields), f"--out={tmp_path}/p.csv"],):
        with pytest.raises(InputError, match="it finds cells"):
            main(command)
    refused = run_quickly(
        "--mode=export", f"--workdir={workdir}", "--config.export.onnx=int8", f"--out={tmp_path}"
    )
    assert refused.returncode == 2 and "int8" in refused.stderr
