"""A small net as ONNX, and pages of it: what the page does does not depend on the net's size."""

import functools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hpa_jax.labels import CHANNELS, LABELS

FEATURES = 24


@functools.cache
def small_net(size: int, *, maps: bool = True) -> bytes:
    """A net of two convolutions with random weights, linear head, as the export writes one.

    Args:
      size: px of its images.
      maps: whether it says what it looked at.
    """
    rng = np.random.default_rng(0)
    labels = len(LABELS)
    first = rng.normal(0, 0.3, (FEATURES, len(CHANNELS), 5, 5)).astype(np.float32)
    second = rng.normal(0, 0.15, (FEATURES, FEATURES, 3, 3)).astype(np.float32)
    head = rng.normal(0, 2, (FEATURES, labels)).astype(np.float32)
    constants = {
        "white": np.float32(255),
        "first": first,
        "second": second,
        "head": head,
        "bias": rng.normal(-1, 1, labels).astype(np.float32),
        "places": np.array([2, 3], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "white"], ["fractions"]),
        helper.make_node("Transpose", ["fractions"], ["first_in"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first_in", "first"], ["c1"], strides=[4, 4], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "second"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["features"]),
        helper.make_node("ReduceMean", ["features", "places"], ["embedding"], keepdims=0),
        helper.make_node("MatMul", ["embedding", "head"], ["unbiased"]),
        helper.make_node("Add", ["unbiased", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    side = size // 8
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", labels]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", FEATURES]),
    ]
    if maps:
        nodes += [
            helper.make_node("Transpose", ["features"], ["last_in"], perm=[0, 2, 3, 1]),
            helper.make_node("MatMul", ["last_in", "head"], ["maps"]),
        ]
        shape = ["batch", side, side, labels]
        outputs.append(helper.make_tensor_value_info("maps", TensorProto.FLOAT, shape))
    shape = ["batch", size, size, len(CHANNELS)]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, shape)
    initializers = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "small", [images], outputs, initializers)
    net = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(net, full_check=True)
    return net.SerializeToString()


def description(size: int, **more) -> dict:
    """model.json of the net."""
    rng = np.random.default_rng(1)
    total = rng.integers(0, 60, (len(LABELS), 10))
    # Scores from 0.9 are right nine times in ten.
    positives = (total * np.linspace(0.05, 0.9, 10)).astype(int)
    found = {
        "labels": [{"id": i, "name": name} for i, name in enumerate(LABELS)],
        "thresholds": [round(float(t), 3) for t in rng.uniform(0.2, 0.6, len(LABELS))],
        "thresholds_fitted_on": "validation",
        "input": {
            "dtype": "uint8",
            "shape": ["B", size, size, len(CHANNELS)],
            "channels": list(CHANNELS),
        },
        "empty": "no label",
        "calibration": {
            "split": "test",
            "images": 800,
            "edges": [(number + 1) / 10 for number in range(10)],
            "total": total.tolist(),
            "positives": positives.tolist(),
        },
        "provenance": {"hpa_jax": "0.4.0", "checkpoint": 7, "config": {"model": {"name": "small"}}},
    }
    return found | more
