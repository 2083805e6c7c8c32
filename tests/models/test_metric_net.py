"""A net for metric learning: embeddings of length 1, and class weights that evaluation ignores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from support.compiling import compile_quickly

from hpa_jax.errors import InputError
from hpa_jax.models import (
    EMBEDDING_HEADS,
    class_weights,
    create_metric_net,
    create_model,
    init_variables,
)

SHAPE = (32, 32, 4)
HEAD_PARAMETERS = {
    *("pool_norm/scale", "pool_norm/bias"),
    *("dense/kernel", "dense/bias"),
    *("dense_norm/scale", "dense_norm/bias"),
    *("embedding/kernel", "embedding/bias"),
    *("embedding_norm/scale", "embedding_norm/bias"),
    "classes/kernel",
}


def test_embeddings_have_a_length_of_one_and_do_not_depend_on_the_class_weights():
    head = EMBEDDING_HEADS["arcface"](24, 9, dropout=0.5, momentum=0.9, dtype=jnp.bfloat16)
    features = np.random.default_rng(0).normal(size=(3, 2, 2, 16)).astype(np.float32)

    @jax.jit
    def run(key, features):
        found, variables = head.init_with_output(key, features, train=False)
        kernel = variables["params"]["classes"]["kernel"]
        variables["params"]["classes"]["kernel"] = 0 * kernel
        return found, head.apply(variables, features, train=False)

    program = compile_quickly(run, jax.random.key(0), features)
    found, without = program(jax.random.key(0), features)
    assert found.shape == (3, 24) and found.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found, without)


def test_its_backbone_is_the_classifier_s_and_a_contrastive_net_has_no_classes():
    options = {"dtype": "float32", "head": "arcface"}
    net = create_metric_net("densenet_tiny", embedding_size=24, num_classes=9, **options)
    variables = init_variables(net, SHAPE, seed=0)
    assert set(flatten_dict(variables["params"]["head"], sep="/")) == HEAD_PARAMETERS
    assert class_weights(variables["params"]).shape == (9, 24)
    classifier = create_model("densenet_tiny", dtype="float32")
    theirs = init_variables(classifier, SHAPE, seed=0)
    jax.tree.map(
        np.testing.assert_array_equal,
        variables["params"]["backbone"],
        theirs["params"]["backbone"],
    )
    contrastive = create_metric_net("densenet_tiny", embedding_size=24, **options)
    image = jnp.zeros((2, *SHAPE))
    init = lambda key: contrastive.init_with_output(key, image, train=False)  # noqa: E731
    embedded, shapes = jax.eval_shape(init, jax.random.key(0))
    assert embedded.shape == (2, 24) and "classes" not in shapes["params"]["head"]


def test_other_heads_and_nets_are_refused():
    with pytest.raises(InputError, match="'pooled' makes no embedding.*arcface"):
        create_metric_net("densenet_tiny", head="pooled")
    with pytest.raises(InputError, match="config.model.name='vgg' is unknown"):
        create_metric_net("vgg")
    with pytest.raises(InputError, match="config.model.block='fused' is for DenseNets"):
        create_metric_net("resnet50", block="fused")
