"""What a chip can do at best, by the name that JAX gives its devices (`device_kind`).

Notes:
- Each number is for one JAX device, as are those of a compiled program. A TPU v2, v3 or 7x chip
  appears as two devices, so theirs are half of what the documents say of a chip.
- A chip that is not listed has no peak: nothing is guessed, and no fraction of a peak is reported.
- Arithmetic is that of bfloat16 products summed in float32, without sparsity. V100 and T4 have no
  such units: XLA does bfloat16 there in float32, whose rate is the peak.
- Links are counted one way: what a device can send in a second over all of them together.

To add a chip, add its `device_kind`, numbers and source to `CHIPS`.
"""

from dataclasses import dataclass

_GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """Peak rates of one JAX device.

    Attributes:
      name: as people say it.
      flops_bf16: FLOP/s, a product and a sum being two.
      hbm_bytes: memory, as the vendor counts it; programs have some 2 % less.
      hbm_bytes_per_s: between memory and the chip.
      ici_bytes_per_s: sent to the other chips of a slice; None where that depends on how cards are
        built in.
      source: of the numbers.
      devices_per_chip: JAX devices that a chip appears as.
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
    sent_gb_per_s: float,
    source: str,
    devices: int = 1,
) -> Chip:
    """Takes the numbers of a chip; those of a device are its fraction."""
    return Chip(
        name=name,
        flops_bf16=tflops * 1e12 / devices,
        hbm_bytes=gib * _GIB // devices,
        hbm_bytes_per_s=gb_per_s * 1e9 / devices,
        ici_bytes_per_s=sent_gb_per_s * 1e9 / devices,
        source=source,
        devices_per_chip=devices,
    )


def _gpu(name: str, tflops: float, gib: int, gb_per_s: float, source: str) -> Chip:
    return Chip(
        name=name,
        flops_bf16=tflops * 1e12,
        hbm_bytes=gib * _GIB,
        hbm_bytes_per_s=gb_per_s * 1e9,
        ici_bytes_per_s=None,
        source=f"NVIDIA, {source}",
    )


_DOCS = "https://docs.cloud.google.com/tpu/docs"
_V2_PAPER = "Jouppi et al. 2020, doi:10.1145/3360307, table 3"
_V4_PAPER = "Jouppi et al. 2023, arXiv:2304.01433, table 4"

# Of a chip: TFLOP/s, memory in GiB and GB/s, GB/s sent over its links. The documents from v5e on
# give links both ways together (v5e 400, v5p and 7x 1200, v6e 800): half of that is sent.
_TPU_V2 = _tpu("TPU v2", 46, 16, 700, 248, _V2_PAPER, devices=2)
_TPU_V3 = _tpu("TPU v3", 123, 32, 900, 280, f"{_DOCS}/v3; links: {_V4_PAPER}", devices=2)
_TPU_V4 = _tpu("TPU v4", 275, 32, 1200, 300, f"{_DOCS}/v4; links: {_V4_PAPER}")
_TPU_V5E = _tpu("TPU v5e", 197, 16, 819, 200, f"{_DOCS}/v5e")
_TPU_V5P = _tpu("TPU v5p", 459, 95, 2765, 600, f"{_DOCS}/v5p")
_TPU_V6E = _tpu("TPU v6e", 918, 32, 1638, 400, f"{_DOCS}/v6e and its comparison in /tpu7x")
_TPU_7X = _tpu("TPU7x", 2307, 192, 7380, 600, f"{_DOCS}/tpu7x", devices=2)

# Some data sheets give arithmetic with sparsity only, which is twice as fast.
_HALVED = "(half of its number with sparsity)"
_B200 = f"DGX B200 datasheet, an eighth of it {_HALVED}"
_H200 = f"H200 datasheet {_HALVED}"
_H100 = f"H100 Tensor Core GPU datasheet {_HALVED}"
_A100 = "A100 Tensor Core GPU datasheet"
_L4 = f"L4 datasheet {_HALVED}"
_V100 = "V100 datasheet"
_AMPERE = "GA102 GPU architecture, appendix A"
_ADA = "Ada GPU architecture, appendix A"
# Papers leave these out: 512 operations a cycle and multiprocessor, as their larger sisters have.
_GEFORCE_3060 = "RTX 3060 specifications: 28 multiprocessors at 1.777 GHz"
_GEFORCE_4060 = "RTX 4060 specifications: 24 multiprocessors at 2.46 GHz"
_BLACKWELL = "RTX Blackwell GPU architecture, appendix A"

CHIPS: dict[str, Chip] = {
    "TPU v2": _TPU_V2,
    "TPU v3": _TPU_V3,
    "TPU v4": _TPU_V4,
    "TPU v5 lite": _TPU_V5E,
    "TPU v5e": _TPU_V5E,
    "TPU v5": _TPU_V5P,
    "TPU v5p": _TPU_V5P,
    "TPU v6 lite": _TPU_V6E,
    "TPU v6e": _TPU_V6E,
    "TPU7x": _TPU_7X,
    "TPU v7x": _TPU_7X,
    # TFLOP/s, memory in GiB and GB/s.
    "NVIDIA B200": _gpu("B200", 2250, 180, 8000, _B200),
    "NVIDIA H200": _gpu("H200", 989, 141, 4800, _H200),
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
    "NVIDIA L4": _gpu("L4", 121, 24, 300, _L4),
    "NVIDIA V100-SXM2-32GB": _gpu("V100 SXM2 32 GB", 15.7, 32, 900, _V100),
    "NVIDIA V100-SXM2-16GB": _gpu("V100 SXM2 16 GB", 15.7, 16, 900, _V100),
    "NVIDIA V100-PCIE-32GB": _gpu("V100 PCIe 32 GB", 14, 32, 900, _V100),
    "NVIDIA V100-PCIE-16GB": _gpu("V100 PCIe 16 GB", 14, 16, 900, _V100),
    "NVIDIA T4": _gpu("T4", 8.1, 16, 320, "T4 datasheet"),
    "NVIDIA RTX A6000": _gpu("RTX A6000", 154.8, 48, 768, _AMPERE),
    "NVIDIA GeForce RTX 3060": _gpu("RTX 3060", 25.5, 12, 360, _GEFORCE_3060),
    "NVIDIA GeForce RTX 3090": _gpu("RTX 3090", 71, 24, 936, _AMPERE),
    "NVIDIA GeForce RTX 4060": _gpu("RTX 4060", 30.2, 8, 272, _GEFORCE_4060),
    "NVIDIA GeForce RTX 4080": _gpu("RTX 4080", 97.5, 16, 716.8, _ADA),
    "NVIDIA GeForce RTX 4090": _gpu("RTX 4090", 165.2, 24, 1008, _ADA),
    "NVIDIA GeForce RTX 5090": _gpu("RTX 5090", 209.5, 32, 1792, _BLACKWELL),
}


def chip_of(device_kind: str) -> Chip | None:
    """The chip behind a JAX device's `device_kind`; None where it is not known."""
    return _BY_BARE_NAME.get(_bare_name(device_kind))


def _bare_name(device_kind: str) -> str:
    """Without the brand: drivers say "Tesla T4", "NVIDIA T4" or "NVIDIA Tesla T4", and so on."""
    brands = ("nvidia", "tesla", "geforce")
    words = device_kind.lower().split()
    return " ".join(word for word in words if word not in brands)


_BY_BARE_NAME = {_bare_name(device_kind): chip for device_kind, chip in CHIPS.items()}
