"""Weights that others have trained, as a net's first values: `load_pretrained`.

sources.py   what can be loaded by name, with its publisher's digest
fetch.py     downloads it, once
locate.py    finds the file that a source stands for
formats.py   reads any of the layouts, told apart by their content
torch_names.py, keras_names.py   what a layout calls the arrays of our nets
torch_convnext.py, torch_densenet.py   the same of a family, in PyTorch's files
match.py     which array of a file is which of ours
stem.py      first convolutions for other than three channels
load.py      all of that, one after the other

torchvision_weights.py   the way back: a trained net's arrays for torchvision's module
"""

from hpa_jax.pretrained.load import Loaded, load_described, load_pretrained
from hpa_jax.pretrained.sources import SOURCES, Source
from hpa_jax.pretrained.stem import STEMS

__all__ = ["SOURCES", "STEMS", "Loaded", "Source", "load_described", "load_pretrained"]
