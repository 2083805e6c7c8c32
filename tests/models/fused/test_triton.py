"""The kernels of fused blocks for NVIDIA GPUs: as XLA has it, and with the declared traffic."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.compiling import compile_quickly, relative_errors

from hpa_jax.models.fused import stages, triton_conv1x1, triton_conv3x3
from hpa_jax.models.fused.backend import Layer, LayerBackward
from hpa_jax.models.fused.moments import Affine
from hpa_jax.models.fused.triton import TritonBackend
from hpa_jax.models.fused.triton_blocks import LARGE_TILES, SMALL_TILES, Span, plan_span
from hpa_jax.models.fused.xla import XlaBackend
from hpa_jax.models.norm import MomentGradient


def draw_layer(images, height, width, channels, growth, dtype):
    """A layer of random numbers, and what its four passes are given."""
    rng = np.random.default_rng(0)
    features = 4 * growth

    def draw(*shape, dtype=jnp.float32):
        return jnp.asarray(rng.normal(size=shape), jnp.float32).astype(dtype)

    layer = Layer(
        norm1=Affine(draw(channels), draw(channels)),
        conv1=draw(channels, features) / channels**0.5,
        norm2=Affine(draw(features), draw(features)),
        conv2=draw(3, 3, features, growth) / 20,
    )
    size = (images, height, width)
    total = channels + 2 * growth
    return {
        "layer": layer,
        "buffer": draw(*size, total, dtype=dtype),
        "grad_buffer": draw(*size, total, dtype=dtype),
        "h": draw(*size, features, dtype=dtype),
        "grad_z": draw(*size, features, dtype=dtype),
        "from_moments": MomentGradient(draw(growth), draw(growth)),
        "coefficients": draw(features, 3),
    }


def run_passes(backend, layer, buffer, grad_buffer, h, grad_z, from_moments, coefficients):
    """What the four convolutions of a backend return."""
    channels = layer.conv1.shape[0]
    of_layer = LayerBackward(layer, grad_z, h, coefficients)
    return (
        backend.conv1x1(buffer, layer.norm1, layer.conv1),
        backend.conv3x3(h, layer, buffer, channels),
        backend.conv3x3_backward(grad_buffer, buffer, from_moments, h, layer, channels),
        backend.conv1x1_backward(buffer, grad_buffer, [of_layer], slice(0, channels)),
    )


# Chunks of the channels that are full and that are not; rows that are not powers of two; blocks of
# pixels with the end of an image within. In several programs of several blocks each.
@pytest.mark.parametrize(
    ("shape", "channels", "growth", "dtype", "tiles"),
    [
        ((1, 6, 32), 48, 16, "bfloat16", LARGE_TILES),
        ((4, 4, 12), 80, 16, "float32", SMALL_TILES),
    ],
)
def test_kernels_agree_with_xla(shape, channels, growth, dtype, tiles, monkeypatch):
    for module in (triton_conv1x1, triton_conv3x3):
        monkeypatch.setattr(module, "PROGRAMS", 4)
        monkeypatch.setattr(module, "LEAST_PIXELS", 32)
    given = draw_layer(*shape, channels, growth, jnp.dtype(dtype))
    backend = TritonBackend(growth, tiles, interpret=True)
    expected = compile_quickly(partial(run_passes, XlaBackend()), *given.values())
    found = compile_quickly(partial(run_passes, backend), *given.values())
    widened = []
    for results in (expected(*given.values()), found(*given.values())):
        widened.append(jax.tree.map(lambda x: np.asarray(x, np.float32), results))
    errors = relative_errors(*widened)
    # XLA rounds one gradient more to bfloat16.
    assert errors.max() < (1e-5 if dtype == "float32" else 1e-2), errors


def test_what_does_not_fit_has_no_kernels():
    create = partial(TritonBackend.create, capability=9)
    assert create(16, 128, 128, 64, growth=32).tiles == LARGE_TILES
    assert create(16, 128, 128, 64, growth=48) is None
    assert create(16, 128, 128, 64, growth=8) is None
    assert create(16, 128, 128, 72, growth=32) is None
    assert create(16, 7, 7, 512, growth=32) is None
    assert create(32, 7, 7, 512, growth=32) is not None

    of_capability = partial(TritonBackend.create, 16, 128, 128, 64, growth=32)
    assert of_capability(capability=7) is None
    assert of_capability(capability=8).tiles == SMALL_TILES
    assert of_capability(capability=10).tiles == LARGE_TILES
    assert of_capability(capability=12).tiles == SMALL_TILES


def test_the_device_decides_whose_kernels_run(monkeypatch):
    class Device:
        platform = "gpu"
        compute_capability = "9.0"

    monkeypatch.setattr(jax, "devices", lambda: [Device])
    backend_of = partial(stages.backend_of, 16, 32, 32, 64, 32, None)
    assert isinstance(backend_of(), TritonBackend)
    for capability in ("7.5", "gfx942"):
        monkeypatch.setattr(Device, "compute_capability", capability)
        assert backend_of() is None
    planned = stages.plan_stages((16, 32, 32, 64), (2, 2), 32, None, kernels=False)
    assert [type(stage.backend) for stage in planned] == [XlaBackend, XlaBackend]


def test_pixels_are_divided_evenly():
    assert plan_span(4096, most_programs=128, least_pixels=512, block=64) == Span(8, 8, 64)
    assert plan_span(3 * 7 * 32, most_programs=6, block=64) == Span(3, 7, 32)
    assert plan_span(64, most_programs=8, least_pixels=512, block=64) == Span(1, 1, 64)


IMAGES = (2, 3, 16)
PIXELS = 2 * 3 * 16


class Ref:
    """An array of a kernel that notes which of its values each program reads or writes."""

    def __init__(self, shape, dtype):
        self.shape = shape
        self.dtype = jnp.dtype(dtype)
        self.places = np.arange(np.prod(shape)).reshape(shape)
        self.by_program = []

    def __getitem__(self, index):
        if self.dtype == jnp.int32:
            return self.values[index]
        places = self.places[index]
        self.by_program[-1].update(places.ravel().tolist())
        return jnp.zeros(places.shape, self.dtype)

    def __setitem__(self, index, values):
        assert self[index].shape == values.shape

    def moved_bytes(self):
        """Values of pixels once for each program that takes them, all others once."""
        counts = [len(places) for places in self.by_program]
        if self.shape[0] != PIXELS:
            counts = [len(set().union(*self.by_program))]
        return sum(counts) * self.dtype.itemsize


@pytest.fixture
def moved_and_declared(monkeypatch):
    """Runs kernels program by program; returns a list of what each moved and what it declared."""
    program_ids = []
    found = []

    def load(ref, rows, columns, mask=True):
        rows, columns = np.broadcast_arrays(rows[:, None], columns[None, :])
        is_inside = np.broadcast_to(mask, rows.shape)
        ref[rows[is_inside], columns[is_inside]]
        return jnp.zeros(rows.shape, ref.dtype)

    def store(ref, rows, columns, values, mask=True):
        assert load(ref, rows, columns, mask).shape == values.shape

    def loop(first, stop, body, value):
        for step in range(first, stop):
            value = body(jnp.int32(step), value)
        return value

    def pallas_call(kernel, *, grid, out_shape, cost_estimate, **_):
        def run(sizes, *operands):
            inputs = [Ref(x.shape, x.dtype) for x in (sizes, *operands)]
            inputs[0].values = np.asarray(sizes).tolist()
            refs = inputs + [Ref(x.shape, x.dtype) for x in out_shape]
            monkeypatch.setattr(triton_conv1x1.pl, "num_programs", lambda axis: grid[axis])
            for program in np.ndindex(*grid):
                program_ids[:] = program
                for ref in refs:
                    ref.by_program.append(set())
                kernel(*refs)
            # But for the sizes, which are a few bytes.
            moved = sum(ref.moved_bytes() for ref in refs[1:])
            found.append((moved, cost_estimate.bytes_accessed))
            return [jnp.zeros(x.shape, x.dtype) for x in out_shape]

        return run

    monkeypatch.setattr(triton_conv1x1.pl, "pallas_call", pallas_call)
    monkeypatch.setattr(triton_conv1x1.pl, "program_id", lambda axis: program_ids[axis])
    monkeypatch.setattr(jax.lax, "fori_loop", loop)
    for module in (triton_conv1x1, triton_conv3x3):
        monkeypatch.setattr(module, "load", load)
        monkeypatch.setattr(module, "store", store)
        monkeypatch.setattr(module, "PROGRAMS", 4)
        monkeypatch.setattr(module, "LEAST_PIXELS", 32)
    return found


@pytest.mark.parametrize("tiles", [LARGE_TILES, SMALL_TILES])
def test_kernels_move_what_they_declare(tiles, moved_and_declared):
    given = draw_layer(*IMAGES, 144, 16, jnp.bfloat16)
    run_passes(TritonBackend(16, tiles, interpret=True), *given.values())
    assert len(moved_and_declared) == 4
    for moved, declared in moved_and_declared:
        assert moved == declared
