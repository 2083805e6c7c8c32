"""A trained net as a folder that can be served without this project's training code.

export.py       writes the folder from a run, by
worker.py       a process whose environment is always the same
forward.py      the forward pass that is exported
description.py  model.json
artifact.py     checks, loads and runs it; needs jax, flatbuffers, numpy and safetensors only
check.py        whether an export is as it was written, and runs here
decision.py     which labels probabilities decide on
predict/        from a folder of images to a table, and to the nearest images of another
__main__.py     `python -m hpa_jax.serving COMMAND EXPORT`

Importing this package does not import JAX; loading an export does.
"""

from hpa_jax.serving.artifact import Served, load

__all__ = ["Served", "load"]
