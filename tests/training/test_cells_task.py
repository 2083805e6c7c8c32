"""The task of single cells: what it is given, what it refuses, and that a run learns."""

import csv
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from support.drawn_cells import write_fields

from configs.cells import get_config
from hpa_jax.errors import InputError
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.segmentation.cell_table import measure_cells
from hpa_jax.segmentation.crops import CropRule, crop
from hpa_jax.segmentation.numbering import pair
from hpa_jax.serving import __main__ as serving
from hpa_jax.serving import artifact
from hpa_jax.serving.predict.cells.pooling import pool
from hpa_jax.training.tasks import cells, task_class
from tfds_builder.hpa.__main__ import main as build
from tfds_builder.hpa.synthetic.masks import instance_masks
from tfds_builder.hpa.synthetic.render import cells_of, render


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:1])


@pytest.fixture
def config():
    config = get_config()
    config.model.name = "densenet_tiny"
    config.data.batch_size = 2
    config.data.mean = config.data.std = (0.2,) * 4
    config.data.vocabulary = tuple(f"label {k}" for k in range(28))
    config.cells.per_field = 3
    return config


def test_the_threads_that_read_cut_out_the_cells():
    made = cells.CellCrops(CropRule(32, 32), 5)
    field = render(0, 1, (3,), 64)
    example = {"id": "a", "image": field, "targets": np.ones(28, np.uint8)}
    found = made({**example, "masks": instance_masks(cells_of(0, 1, 64))})
    assert set(found) == {"id", "targets", "crops", "is_cell"}
    assert found["crops"].shape == (5, 32, 32, 4) and found["is_cell"].all()
    # What fills up a batch.
    padding = made({**example, "masks": np.zeros((64, 64, 2), np.uint16)})
    assert padding["crops"].shape == (5, 32, 32, 4)


def test_programs_of_a_plan_take_what_a_run_reads(config, mesh):
    task = task_class(config)(config, mesh)
    variables = task.abstract_variables()
    assert set(variables["params"]) == {"backbone", "head", "attention"}
    step = task.evaluation_step(variables)
    counts, by_image = jax.eval_shape(step.function, *step.arguments)
    assert by_image.shape == (29, 57)
    batch = {}
    for name, (shape, dtype) in task.batch_arrays((64, 64, 4)).items():
        batch[name] = jax.ShapeDtypeStruct((2, *shape), dtype)
    assert batch["crops"].shape == (2, 3, 32, 32, 4)
    objective = task.objective(None, 1)
    key = jax.random.key(0)
    inputs = jax.eval_shape(objective.prepare, batch, key)
    loss, (metrics, _) = jax.eval_shape(objective.loss, variables, inputs, 0, key)
    assert loss.shape == () and set(metrics) == {"accuracy"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("augment.mixup", 0.3), ("train.ema", 0.9), ("train.loss", "softmax_cross_entropy")],
)
def test_what_is_of_images_is_refused(config, mesh, name, value):
    section, field = name.split(".")
    setattr(getattr(config, section), field, value)
    with pytest.raises(InputError, match=f"config.{name}="):
        task_class(config)(config, mesh)


def test_the_side_of_a_crop_has_to_be_given(config):
    config.data.image_size = 0
    with pytest.raises(InputError, match="config.data.image_size is the side of a crop"):
        task_class(config).open_sources(config)


@pytest.mark.slow
def test_a_run_learns_resumes_and_scores_cells(run_quickly, tmp_path):
    data = ("--config=synthetic", "--size=64", f"--data_dir={tmp_path}", "--workers=1")
    assert build([*data, "--images=40", "--masks", "--name=drawn"]) == 0
    flags = (
        f"--config={Path(__file__).parents[2]}/configs/cells.py",
        f"--workdir={tmp_path}/run",
        f"--config.data.data_dir={tmp_path}",
        "--config.data.name=drawn",
        "--config.model.name=densenet_tiny",
        "--config.cells.per_field=4",
        "--config.data.batch_size=4",
        "--config.optim.schedule=constant",
        "--config.train.log_every=1",
        "--config.train.eval_every=4",
    )
    for steps in (8, 12):
        done = run_quickly(*flags, f"--config.train.steps={steps}")
        assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert len(losses) == 12 and losses[-1] < losses[0]
    evaluated = [line for line in lines if line["split"] == "validation"]
    assert [line["step"] for line in evaluated] == [4, 8, 12]

    refused = run_quickly("--mode=evaluate", f"--workdir={tmp_path}/run")
    assert refused.returncode == 2 and "has learnt labels of cells" in refused.stderr

    # The export takes crops, cut out as those that the net learned from.
    done = run_quickly("--mode=export", f"--workdir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    export = tmp_path / "run" / "export"
    assert serving.main([str(export)]) == 0
    made, masks = write_fields(tmp_path / "images", tmp_path / "masks", {"a": (3, 7), "b": (8,)})
    words = ["predict", str(export), str(tmp_path / "images")]
    with pytest.raises(InputError, match="scores single cells: .* --cells"):
        serving.main([*words, f"--out={tmp_path}/images.csv"])
    flags = ["--cells", f"--masks={tmp_path}/masks", f"--out={tmp_path}/cells.csv"]
    assert serving.main([*words, *flags]) == 0
    served = artifact.load(export, kinds=("cells",))
    names = [label["name"] for label in served.description["labels"]]
    with open(tmp_path / "cells.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["a:3", "a:7", "b:8"]
    instances = pair(masks["a"])
    for row, cell in zip(rows, measure_cells(instances), strict=False):
        image = crop(made["a"], instances.cells, cell, CropRule(32, 32))
        right = served.probabilities(image[None])[0]
        np.testing.assert_allclose([float(row[name]) for name in names], right, atol=2e-6)
    with open(tmp_path / "cells.csv.fields.csv", encoding="utf-8") as file:
        of_a, _ = csv.DictReader(file)
    assert of_a["label_names"] == of_a[names[0]] == ""
    # A field's score is made as in training: by attention.
    crops = [
        crop(made["a"], instances.cells, cell, CropRule(32, 32))
        for cell in measure_cells(instances)
    ]
    outputs = served.run(np.stack(crops), ("probabilities", "attention"))
    right = pool(outputs["probabilities"], "attention", outputs["attention"])
    found = [float(of_a[f"{name} (cells)"]) for name in names]
    np.testing.assert_allclose(found, right, atol=2e-6)

    # The run itself gives the same.
    folder = f"--config.predict.images={tmp_path}/images"
    mode = ("--mode=predict", f"--workdir={tmp_path}/run", folder)
    refused = run_quickly(*mode)
    assert refused.returncode == 2 and "config.predict.cells" in refused.stderr
    masks_flag = f"--config.predict.masks={tmp_path}/masks"
    done = run_quickly(*mode, "--config.predict.cells=True", masks_flag)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "run" / "cells.csv", encoding="utf-8") as file:
        for row, other in zip(csv.DictReader(file), rows, strict=True):
            assert row["id"] == other["id"] and row["area_px"] == other["area_px"]
            for name in names:
                assert float(row[name]) == pytest.approx(float(other[name]), abs=1e-4)
