"""A fused net: what it makes of its parts' maps, that they stay, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from support.drawn_variables import drawn

from hpa_jax.errors import InputError
from hpa_jax.models import (
    BACKBONES,
    check_size,
    create_fusion_net,
    create_model,
    part_names,
    split_multiple,
)
from hpa_jax.pretrained.torchvision_weights import module_arguments, to_torchvision

pytestmark = pytest.mark.usefixtures("compiled_once")

PARTS = ("densenet_tiny", "convnext_test")
SHAPE = (40, 40, 4)


def variables_of(model):
    """Drawn values, none of them trivial: nested dicts."""
    image = jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32)
    init = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    return unflatten_dict(drawn(init), sep="/")


@pytest.fixture(scope="module")
def fused():
    model = create_fusion_net(PARTS, num_labels=5, width=16, dropout=0.5, dtype="float32")
    images = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    return model, variables_of(model), images


def test_its_features_are_the_parts_own_each_of_one_length(fused):
    model, variables, images = fused

    def features(variables, images):
        found = [model.apply(variables, images, train=False, method="features")]
        for net, name in zip(PARTS, part_names(PARTS), strict=True):
            alone = create_model(net, head="linear", num_labels=5, dtype="float32")
            of_part = {}
            for collection, arrays in variables.items():
                of_part[collection] = {"backbone": arrays["backbone"].get(name, {})}
            found.append(alone.apply(of_part, images, train=False, method="features"))
        return found

    # One program: what is the same in both is computed once.
    found, *own = map(np.asarray, jax.jit(features)(variables, images))
    start = 0
    for maps in own:
        maps = maps.astype(np.float64)
        length = np.linalg.norm(maps.mean(axis=(1, 2)), axis=-1)
        expected = maps / length[:, None, None, None] / np.sqrt(len(PARTS))
        stop = start + maps.shape[-1]
        np.testing.assert_allclose(found[..., start:stop], expected, rtol=1e-4, atol=1e-5)
        start = stop
    assert start == found.shape[-1]
    np.testing.assert_allclose(np.linalg.norm(found.mean((1, 2)), axis=-1), 1, rtol=1e-5)


@pytest.mark.slow
def test_its_parts_do_in_training_what_they_do_in_evaluation_and_only_the_head_learns(fused):
    model, variables, images = fused

    def total(params, images):
        logits, updates = model.apply(
            variables | {"params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return (logits**2).sum(), updates["batch_stats"]

    gradients, statistics = jax.jit(jax.grad(total, has_aux=True))(variables["params"], images)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradients["backbone"]))
    jax.tree.map(
        np.testing.assert_array_equal, statistics["backbone"], variables["batch_stats"]["backbone"]
    )
    assert all(leaf.any() for leaf in jax.tree.leaves(gradients["head"]["logits"]))
    moved = statistics["head"]["norm"]["mean"]
    assert not np.array_equal(moved, variables["batch_stats"]["head"]["norm"]["mean"])
    assert set(flatten_dict(variables["params"]["head"], sep="/")) == {
        *("norm/scale", "norm/bias", "dense/kernel", "dense/bias", "logits/kernel", "logits/bias")
    }


def test_one_net_may_come_twice_and_maps_must_agree():
    assert part_names(("resnet50", "resnet50")) == ("part1_resnet50", "part2_resnet50")
    check_size(create_fusion_net(("densenet121", "resnet50")), (512, 512, 4))
    with pytest.raises(InputError, match=r"densenet121 6, resnet50 7\) and cannot be joined"):
        check_size(create_fusion_net(("densenet121", "resnet50")), (200, 200, 4))
    least = BACKBONES["densenet_tiny"]().MIN_IMAGE_SIZE
    with pytest.raises(InputError, match=f"'fusion' takes images of at least {least} px"):
        check_size(create_fusion_net(("densenet_tiny",)), (16, 16, 4))


def test_what_it_is_not_for_is_refused_by_name():
    with pytest.raises(InputError, match="'fusion' has no parts; give config.fusion.runs"):
        create_fusion_net(())
    with pytest.raises(InputError, match="config.fusion.parts: 'vgg' is unknown; choose among"):
        create_fusion_net(("resnet50", "vgg"))
    with pytest.raises(InputError, match="config.model.dtype='float16' is unknown"):
        create_fusion_net(("resnet50",), dtype="float16")
    # Its images are not split over devices, and torchvision has no such net.
    assert split_multiple("fusion") == 0
    assert module_arguments("fusion") is None
    with pytest.raises(InputError, match="config.model.name='fusion' is no net of torchvision's"):
        to_torchvision({}, "fusion", "fusion")
