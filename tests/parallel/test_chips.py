"""What a chip can do, as its vendor and as JAX itself say."""

import pytest
from jax.experimental.pallas import tpu as pltpu

from hpa_jax.parallel.chips import CHIPS, chip_of

# By device kind: JAX's name of the generation, and the cores of a JAX device.
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
    """JAX's is per core, and differs from Cloud TPU's documents by up to 14 % (v3, v5p)."""
    generation, cores = GENERATIONS[kind]
    theirs = pltpu.get_tpu_info_for_chip(pltpu.ChipVersion(generation), cores)
    chip = chip_of(kind)
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


def test_every_chip_is_within_reason():
    for chip in CHIPS.values():
        assert 5e12 < chip.flops_bf16 < 3e15 and 2**33 <= chip.hbm_bytes <= 2**38 and chip.source
        assert 2e11 < chip.hbm_bytes_per_s < 1e13
