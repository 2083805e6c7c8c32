"""The task of finding cells: maps move with their images, masks are compared, a run learns."""

import json

import jax
import numpy as np
import pytest
from support.cell_runs import cell_run

from configs.cells_unet import get_config
from hpa_jax.config import Augment
from hpa_jax.errors import InputError
from hpa_jax.parallel.mesh import make_mesh
from hpa_jax.segmentation.targets import target_maps
from hpa_jax.training.map_evaluator import METRICS, compare, summarize
from hpa_jax.training.tasks import cell_masks, task_class
from tfds_builder.hpa.synthetic.masks import instance_masks
from tfds_builder.hpa.synthetic.render import cells_of


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:1])


@pytest.fixture
def config():
    config = get_config()
    config.data.image_size = 32
    config.model.name = "densenet_tiny"
    config.cell_masks.width = 4
    return config


def test_symmetries_move_maps_with_their_images_and_light_leaves_maps_alone(mesh):
    rng = np.random.default_rng(0)
    images = rng.integers(1, 100, (6, 8, 8, 4), np.uint8)
    augment = Augment(flips=True, brightness=0.3, channel_dropout=0.4)
    augmented = cell_masks._augmentation(augment, mesh)
    fast = {"xla_backend_optimization_level": 0}
    key = jax.random.key(3)
    lit, maps = map(np.asarray, jax.jit(augmented, compiler_options=fast)(images, images, key))
    flat = (6, 64, 4)
    np.testing.assert_array_equal(
        np.sort(maps.reshape(flat), axis=1), np.sort(images.reshape(flat), axis=1)
    )
    # They have been moved, every image to one of its eight symmetries.
    assert (maps != images).any(axis=(1, 2, 3)).sum() >= 2
    # A channel of an image has one factor, which is 0 where it was dropped.
    factors = lit / maps
    np.testing.assert_allclose(factors, factors[:, :1, :1] * np.ones_like(factors), rtol=1e-5)
    assert len(np.unique(factors[:, 0, 0].round(3))) > 6 and (factors[..., 1] > 0).all()
    assert (factors == 0).any()


@pytest.mark.parametrize(
    ("name", "value"), [("scale", (0.8, 1.0)), ("rotate_degrees", 5.0), ("mixup", 0.3)]
)
def test_what_masks_cannot_follow_is_refused(config, mesh, name, value):
    setattr(config.augment, name, value)
    with pytest.raises(InputError, match=f"config.augment.{name}=.*set it to"):
        task_class(config)(config, mesh)


def test_the_program_of_a_plan_is_that_of_a_run(config, mesh):
    config.data.batch_size = 2
    task = task_class(config)(config, mesh)
    assert task.batch_arrays((32, 32, 4))["maps"] == ((32, 32, 4), np.uint8)
    step = task.evaluation_step(task.abstract_variables())
    maps, masks, is_field = jax.eval_shape(step.function, *step.arguments)
    assert maps.shape == (2, 32, 32, 4) and masks.shape == (2, 32, 32, 2)
    assert is_field.dtype == bool and "densenet_tiny" in task.describe_net()


def test_metrics_of_perfect_maps_and_of_none():
    masks = instance_masks(cells_of(0, 1, 96))
    perfect = compare(target_maps(masks), masks)
    found = summarize([perfect])
    assert tuple(found) == METRICS
    assert found["ap50"] >= 0.9 and found["nuclei_ap50"] >= 0.9 and found["map_fit"] == 1
    nothing = compare(np.zeros((96, 96, 4), np.float32), masks)
    halved = summarize([perfect, nothing])
    assert 0.4 < halved["ap50"] <= 0.5 and 0.4 < halved["aji"] < 0.55
    assert summarize([nothing])["ap50"] == 0


@pytest.mark.slow
def test_a_run_learns_resumes_and_is_told_apart(run_quickly):
    workdir = cell_run(run_quickly)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert len(losses) == 12 and losses[-1] < losses[0]
    evaluated = [line for line in lines if line["split"] == "validation"]
    assert [line["step"] for line in evaluated] == [4, 8, 12]
    assert all(0 <= line[name] <= 1 for line in evaluated for name in METRICS)
    low, middle, high = json.loads((workdir / "config.json").read_text())["cell_masks"][
        "nucleus_diameters"
    ]
    assert 2 < low < middle < high < 20

    refused = run_quickly("--mode=evaluate", f"--workdir={workdir}")
    assert refused.returncode == 2 and "has learnt where each cell is" in refused.stderr
