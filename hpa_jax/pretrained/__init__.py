"""Weights that others have trained, as a net's starting values: `load('torchvision_densenet121', net=..., ...)`.

sources.py   what can be had by name, with its publisher's digest
fetch.py     downloads it, once
formats.py   reads any of the layouts, told apart by their content
*_names.py   which array of a file is which of ours
stem.py      first convolutions for other than three channels
load.py      all of that, one after the other
"""

from hpa_jax.pretrained.load import Loaded, load, load_described
from hpa_jax.pretrained.sources import SOURCES, Source
from hpa_jax.pretrained.stem import STEMS

__all__ = ["SOURCES", "STEMS", "Loaded", "Source", "load", "load_described"]
