"""ConvNeXts beside timm's own modules, with the same random weights through a safetensors file.

    python -m pip install timm
    python benchmarks/convnext_timm.py [--nets=convnext_tiny,convnext_small]

Prints the largest difference of the logits from timm's, and their largest value: images of 97 x 70
px, three channels, float32. That torchvision's modules are the same is tested
(tests/models/test_convnext.py); timm is no dependency of the tests.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

import checkout  # noqa: F401
import jax
import numpy as np
from nets_sides import CONVNEXTS, import_torchvision

import hpa_jax
from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError

LABELS = 7


def compare(net: str, folder: Path) -> tuple[float, float]:
    """The largest difference of the logits, and the largest logit."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    theirs = timm.create_model(net, num_classes=LABELS).eval()
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            # As drawn, branches are next to left out, and norms do nothing.
            if name.endswith("gamma"):
                tensor.uniform_(0.1, 0.5)
            elif tensor.ndim == 1:
                tensor.add_(0.2 * torch.randn_like(tensor))
    path = folder / f"{net}.safetensors"
    save_file(theirs.state_dict(), path)

    ours = hpa_jax.create_model(net, head="norm_linear", num_labels=LABELS, dtype="float32")
    variables = hpa_jax.load_pretrained(ours, str(path), channels=3, image_size=64)
    images = np.random.default_rng(0).normal(size=(2, 97, 70, 3)).astype(np.float32)
    found = jax.jit(lambda variables, images: ours.apply(variables, images, train=False))(
        variables, images
    )
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    return float(np.abs(found - expected).max()), float(np.abs(expected).max())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", default=",".join(CONVNEXTS))
    nets = parser.parse_args(argv).nets.split(",")
    for net in nets:
        if net not in CONVNEXTS:
            parser.error(f"--nets: {net!r} is unknown; choose of {', '.join(CONVNEXTS)}")
    if importlib.util.find_spec("timm") is None:
        raise InputError("timm is not installed: python -m pip install timm")
    # timm imports it, and beside a PyTorch for CPUs alone it needs help.
    import_torchvision()
    for net in nets:
        with tempfile.TemporaryDirectory() as folder:
            difference, largest = compare(net, Path(folder))
        print(f"{net}: logits differ by {difference:.1e} at most, of {largest:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    run_program(main)
