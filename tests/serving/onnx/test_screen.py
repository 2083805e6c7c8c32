"""Models that would read other files or run other code are refused, without any package."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hpa_jax.errors import InputError
from hpa_jax.serving.onnx.screen import check_self_contained
from hpa_jax.serving.onnx.session import open_session

ROOT = Path(__file__).resolve().parents[3]


def model(node=None, domain="", constant=None):
    """Adds one to float32 values [B]."""
    one = numpy_helper.from_array(np.ones(1, np.float32), "one") if constant is None else constant
    node = node or helper.make_node("Add", ["images", "one"], ["sum"])
    values = [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B"])]
    sums = [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["B"])]
    graph = helper.make_graph([node], "graph", values, sums, [one])
    opsets = [helper.make_opsetid("", 18)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def external(location: str):
    tensor = numpy_helper.from_array(np.ones(1, np.float32), "one")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key = "location"
    entry.value = location
    return tensor


def branch():
    inner = helper.make_graph([], "inner", [], [])
    return helper.make_node("If", ["images"], ["sum"], then_branch=inner, else_branch=inner)


def with_function():
    made = model()
    node = helper.make_node("Add", ["x", "x"], ["y"])
    function = helper.make_function("own", "twice", ["x"], ["y"], [node], made.opset_import)
    made.functions.append(function)
    return made


def with_constant_node():
    attribute = external("weights")
    return model(helper.make_node("Constant", [], ["sum"], value=attribute))


BAD = [
    (model(constant=external("/etc/passwd")), "external data"),
    (model(constant=external("../weights")), "external data"),
    (with_constant_node(), "external data"),
    (model(helper.make_node("Add", ["images", "one"], ["sum"], domain="own")), "custom operations"),
    (model(domain="com.microsoft"), "custom operations"),
    (with_function(), "functions"),
    (model(branch()), "graphs within"),
]


def test_a_plain_model_passes_and_runs():
    content = model().SerializeToString()
    check_self_contained(content, "model.onnx")
    run, names = open_session(content, "model.onnx")
    found = run(np.array([1.0, 2.0], np.float32), names)
    np.testing.assert_array_equal(found["sum"], [2, 3])


@pytest.mark.parametrize(("bad", "words"), BAD)
def test_it_is_refused_by_name(bad, words):
    with pytest.raises(InputError, match=f"^model.onnx .*{words}") as refusal:
        open_session(bad.SerializeToString(), "model.onnx")
    assert "\n" not in str(refusal.value)


def test_bytes_that_are_no_model_are_refused():
    content = model().SerializeToString()
    for wrong in (b"", b"\0" * 64, b"PK\3\4" + b"\1" * 60, content[:-3], content[:20]):
        with pytest.raises(InputError, match="is no ONNX file"):
            check_self_contained(wrong, "model.onnx")


def test_damage_is_one_line_whatever_it_hits():
    """Of a real file: refused by the screen or by the runtime, or of no consequence."""
    content = model().SerializeToString()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0x15
        try:
            open_session(bytes(damaged), "model.onnx")
        except InputError as error:
            assert "\n" not in str(error)


def test_the_screen_needs_no_package(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model(constant=external("weights")), path)
    code = (
        "import sys; from hpa_jax.serving.onnx.screen import check_self_contained\n"
        "content = open(sys.argv[1], 'rb').read()\n"
        "try: check_self_contained(content, 'model.onnx')\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "external data" in done.stdout
