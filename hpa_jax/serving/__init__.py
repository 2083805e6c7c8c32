"""A trained net as a folder that can be served without this project's training code.

export.py      writes the folder from a run
artifact.py    checks, loads and runs it; needs jax, numpy and safetensors only
__main__.py    `python -m hpa_jax.serving FOLDER`

Importing this package does not import JAX; loading an export does.
"""

from hpa_jax.serving.artifact import Served, load

__all__ = ["Served", "load"]
