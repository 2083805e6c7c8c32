"""A trained net as a folder that can be served without this project's training code.

export.py       writes the folder from a run, by
worker.py       a process whose environment is always the same
forward.py      the forward pass that is exported, to
maps.py         where the net found each label, among others
onnx/           the same as model.onnx; of 8 bits by calibration_images.py
description.py  model.json
extras.py       what other people and programs read: card/, bioimage/, torchvision's weights
yaml_text.py    YAML that every reader takes for the same
artifact.py     checks and loads it, to be run by
jax_backend.py  JAX, or by
onnx/session.py onnxruntime, as
served.py       one interface over both
check.py        whether an export is as it was written, and runs here
reliability.py  how often scores were right
decision.py     which labels probabilities decide on
predict/        from a folder of images to a table, and to the nearest images of another
kinds.py        what an export's net is for; of those that do not tell labels
net_files.py    the files, traced.py the forward pass, and
cell_net/       what is a net's own that finds cells,
channel_net/    or that fills in channels
synthesize/     channels that were not imaged, made from the others
segment/        from a folder of images to the cells in them
__main__.py     `python -m hpa_jax.serving COMMAND EXPORT`

Importing this package does not import JAX; loading an export does.
"""

from hpa_jax.serving.artifact import load
from hpa_jax.serving.served import Served

__all__ = ["Served", "load"]
