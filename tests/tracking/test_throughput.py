"""What a chip can do, as its vendor and as JAX itself say; and the arithmetic of a step, counted by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from hpa_jax.models import create_model
from hpa_jax.parallel.chips import CHIPS, chip_of
from hpa_jax.tracking.throughput import Utilisation, _products, bytes_accessed, training_flops

# JAX's name of the generation, and the cores that a JAX device has.
GENERATIONS = {
    "TPU v2": ("v2", 1),
    "TPU v3": ("v3", 1),
    "TPU v4": ("v4", 2),
    "TPU v5 lite": ("v5e", 1),
    "TPU v5": ("v5p", 2),
    "TPU v6 lite": ("v6e", 1),
    "TPU7x": ("7x", 1),
}


@pytest.mark.parametrize("kind", GENERATIONS)
def test_peaks_of_tpus_agree_with_jaxs_own_table(kind):
    """Which is of one core, and differs from Cloud TPU's documents by up to 14 % (v3, v5p)."""
    generation, cores = GENERATIONS[kind]
    theirs, chip = pltpu.get_tpu_info_for_chip(pltpu.ChipVersion(generation), cores), chip_of(kind)
    assert chip.flops_bf16 == pytest.approx(cores * theirs.bf16_ops_per_second, rel=0.15)
    assert chip.hbm_bytes_per_s == pytest.approx(cores * theirs.mem_bw_bytes_per_second, rel=0.15)
    assert chip.hbm_bytes == pytest.approx(cores * theirs.hbm_capacity_bytes, rel=0.1)


@pytest.mark.parametrize(
    "kind, name",
    [
        ("TPU v5e", "TPU v5e"),
        ("TPU v5p", "TPU v5p"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100 SXM2 16 GB"),
        ("A100-SXM4-40GB", "A100 SXM 40 GB"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("GeForce RTX 3090", "RTX 3090"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
    ],
)
def test_a_chip_is_found_however_its_driver_spells_it(kind, name):
    assert chip_of(kind).name == name


@pytest.mark.parametrize("kind", ["cpu", "", "NVIDIA", "NVIDIA A100", "TPU v9"])
def test_of_other_chips_nothing_is_known(kind):
    assert chip_of(kind) is None
    assert Utilisation(chip_of(kind), 8, 1e9, 1e9).figures(100.0, 10.0) == {}


def test_every_chip_is_within_reason():
    for chip in CHIPS.values():
        assert 5e12 < chip.flops_bf16 < 3e15 and 2**33 <= chip.hbm_bytes <= 2**38 and chip.source
        assert 2e11 < chip.hbm_bytes_per_s < 1e13


class Net(nn.Module):
    """A convolution of the images, one in a scan of three, a product: each known by hand."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3))(x)
        kernel = self.param("kernel", nn.initializers.normal(), (8, 8))
        x, _ = jax.lax.scan(lambda x, _: (jax.jit(jnp.dot)(jnp.tanh(x), kernel), None), x, length=3)
        return nn.Dense(28)(x.mean((1, 2)))


def test_the_arithmetic_of_a_step_is_three_forward_passes_less_the_gradient_of_the_images():
    net, images = Net(), jax.ShapeDtypeStruct((2, 16, 16, 4), np.float32)
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.ones(images.shape)))
    first, scanned, last = 2 * 2 * 16 * 16 * 8 * 9 * 4, 2 * 2 * 16 * 16 * 8 * 8, 2 * 2 * 8 * 28
    assert training_flops(net.apply, variables, images) == 2 * first + 3 * (3 * scanned + last)
    # The same from the step itself, as JAX differentiates it.
    step = jax.make_jaxpr(jax.value_and_grad(lambda v, x: net.apply(v, x).sum()))(variables, images)
    assert sum(_products(step.jaxpr)) == 2 * first + 3 * (3 * scanned + last)


def test_the_arithmetic_of_densenet_121_is_what_torchvision_says():
    """2.83 billion multiplications and additions forward at 3 x 224 x 224 (its table of weights)."""
    net = create_model(
        "densenet121", head="linear", num_labels=1000, dropout=0.0, momentum=0.9, dtype="float32"
    )
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    variables = jax.eval_shape(
        lambda: net.init(jax.random.key(0), jnp.zeros(images.shape), train=False)
    )
    flops = training_flops(lambda v, x: net.apply(v, x, train=False), variables, images)
    stem = 2 * 112 * 112 * 64 * 7 * 7 * 3
    assert (flops + stem) / 3 == pytest.approx(2 * 2.83e9, rel=0.005)


def test_shares_of_the_peaks():
    chip = chip_of("TPU v5 lite")
    figures = Utilisation(chip, 8, flops=92e9, step_bytes=16 * 2.4e9).figures(8 * 16 * 10.0, 10.0)
    assert figures == pytest.approx(
        {"mfu": 1280 * 92e9 / (8 * 197e12), "hbm_gb_per_sec": 384.0, "hbm_share": 384 / 819}
    )
    assert "hbm_share" not in Utilisation(chip, 8, flops=92e9, step_bytes=0.0).figures(1280.0, 10.0)


def test_bytes_of_a_compiled_program():
    program = (
        jax.jit(lambda x, y: x + y)
        .lower(*[jax.ShapeDtypeStruct((1000,), np.float32)] * 2)
        .compile()
    )
    assert bytes_accessed(program) == 3 * 4000
