"""What a chip can do at best, by the name that JAX gives its devices (`device_kind`): plain facts from the vendors.

Unusual: each figure is of one JAX device, which a compiled program's own figures are of as well. A TPU v2, v3 or 7x
chip shows as two devices, so that theirs are half of what the documents say of a chip. What is not here has no peak:
nothing is guessed, and no share of a peak is told of it.

Arithmetic is that of bfloat16 products summed in float32, without sparsity. V100 and T4 have no such units: XLA does
bfloat16 there in float32, whose rate is the peak. Links are counted one way: what a device can send in a second over
all of them together.
"""

from dataclasses import dataclass

_GIB = 2**30
_CLOUD_TPU = "https://docs.cloud.google.com/tpu/docs"
_DOMAIN_SPECIFIC = "Jouppi et al. 2020, doi:10.1145/3360307"


@dataclass(frozen=True)
class Chip:
    """
    Attributes:
      name: as people say it.
      flops_bf16: FLOP/s, a product and a sum being two.
      hbm_bytes: memory, as the vendor counts it; programs have some 2 % less.
      hbm_bytes_per_s: between memory and the chip.
      ici_bytes_per_s: to the other chips of a slice, sent; None where that depends on how cards are built in.
      source: where the figures are from.
      devices_per_chip: JAX devices that a chip shows as; the figures above are of one.
    """

    name: str
    flops_bf16: float
    hbm_bytes: int
    hbm_bytes_per_s: float
    ici_bytes_per_s: float | None
    source: str
    devices_per_chip: int = 1


def _tpu(
    name: str,
    tflops: float,
    gib: int,
    gb_per_s: float,
    ici_gb_per_s: float,
    source: str,
    devices: int = 1,
):
    """From the figures of a chip."""
    rates = (
        tflops * 1e12 / devices,
        gib * _GIB // devices,
        gb_per_s * 1e9 / devices,
        ici_gb_per_s * 1e9 / devices,
    )
    return Chip(name, *rates, source, devices)


def _gpu(name: str, tflops: float, gb: int, gb_per_s: float, source: str):
    return Chip(name, tflops * 1e12, gb * _GIB, gb_per_s * 1e9, None, f"NVIDIA, {source}")


# The documents give links both ways together (v5e 400 GB/s, v5p and 7x 1,200, v6e 800): half of that is sent.
_V2 = _tpu("TPU v2", 46, 16, 700, 248, f"{_DOMAIN_SPECIFIC}, table 3", devices=2)
_V3 = _tpu(
    "TPU v3", 123, 32, 900, 280, f"{_CLOUD_TPU}/v3; links: arXiv:2304.01433, table 4", devices=2
)
_V4 = _tpu("TPU v4", 275, 32, 1200, 300, f"{_CLOUD_TPU}/v4; links: arXiv:2304.01433, table 4")
_V5E = _tpu("TPU v5e", 197, 16, 819, 200, f"{_CLOUD_TPU}/v5e")
_V5P = _tpu("TPU v5p", 459, 95, 2765, 600, f"{_CLOUD_TPU}/v5p")
_V6E = _tpu("TPU v6e", 918, 32, 1638, 400, f"{_CLOUD_TPU}/tpu7x, which compares it, and /v6e")
_7X = _tpu("TPU7x", 2307, 192, 7380, 600, f"{_CLOUD_TPU}/tpu7x", devices=2)

_H100 = "H100 Tensor Core GPU datasheet (half of what it gives with sparsity)"
_A100 = "A100 Tensor Core GPU datasheet"
_V100 = "V100 datasheet"
_AMPERE = "GA102 GPU architecture, appendix A"

CHIPS: dict[str, Chip] = {
    "TPU v2": _V2,
    "TPU v3": _V3,
    "TPU v4": _V4,
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
    "TPU7x": _7X,
    "TPU v7x": _7X,
    "NVIDIA B200": _gpu(
        "B200", 2250, 180, 8000, "DGX B200 datasheet, an eighth of it (half of that with sparsity)"
    ),
    "NVIDIA H200": _gpu(
        "H200", 989, 141, 4800, "H200 datasheet (half of what it gives with sparsity)"
    ),
    "NVIDIA H100 80GB HBM3": _gpu("H100 SXM", 989, 80, 3350, _H100),
    "NVIDIA H100 NVL": _gpu("H100 NVL", 835, 94, 3900, _H100),
    "NVIDIA H100 PCIe": _gpu("H100 PCIe", 756, 80, 2000, _H100),
    "NVIDIA A100-SXM4-80GB": _gpu("A100 SXM 80 GB", 312, 80, 2039, _A100),
    "NVIDIA A100-SXM4-40GB": _gpu("A100 SXM 40 GB", 312, 40, 1555, _A100),
    "NVIDIA A100 80GB PCIe": _gpu("A100 PCIe 80 GB", 312, 80, 1935, _A100),
    "NVIDIA A100-PCIE-40GB": _gpu("A100 PCIe 40 GB", 312, 40, 1555, _A100),
    "NVIDIA A30": _gpu("A30", 165, 24, 933, "A30 datasheet"),
    "NVIDIA A10": _gpu("A10", 125, 24, 600, "A10 datasheet"),
    "NVIDIA L40S": _gpu("L40S", 362, 48, 864, "L40S datasheet"),
    "NVIDIA L4": _gpu("L4", 121, 24, 300, "L4 datasheet (half of what it gives with sparsity)"),
    "NVIDIA V100-SXM2-32GB": _gpu("V100 SXM2 32 GB", 15.7, 32, 900, _V100),
    "NVIDIA V100-SXM2-16GB": _gpu("V100 SXM2 16 GB", 15.7, 16, 900, _V100),
    "NVIDIA V100-PCIE-32GB": _gpu("V100 PCIe 32 GB", 14, 32, 900, _V100),
    "NVIDIA V100-PCIE-16GB": _gpu("V100 PCIe 16 GB", 14, 16, 900, _V100),
    "NVIDIA T4": _gpu("T4", 8.1, 16, 320, "T4 datasheet"),
    "NVIDIA RTX A6000": _gpu("RTX A6000", 154.8, 48, 768, _AMPERE),
    "NVIDIA GeForce RTX 3090": _gpu("RTX 3090", 71, 24, 936, _AMPERE),
    "NVIDIA GeForce RTX 4090": _gpu(
        "RTX 4090", 165.2, 24, 1008, "Ada GPU architecture, appendix A"
    ),
    "NVIDIA GeForce RTX 5090": _gpu(
        "RTX 5090", 209.5, 32, 1792, "RTX Blackwell GPU architecture, appendix A"
    ),
}


def chip_of(device_kind: str) -> Chip | None:
    """The chip behind a JAX device's `device_kind`, however the driver spells the maker; None where it is not known."""
    return _BY_BARE_NAME.get(_bare(device_kind))


def _bare(kind: str) -> str:
    """Drivers of other years say "Tesla T4", "NVIDIA T4" or "NVIDIA Tesla T4", "GeForce RTX 3090" or with NVIDIA."""
    return " ".join(
        word for word in kind.lower().split() if word not in ("nvidia", "tesla", "geforce")
    )


_BY_BARE_NAME = {_bare(kind): chip for kind, chip in CHIPS.items()}
