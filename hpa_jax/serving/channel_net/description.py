"""model.json of a net that fills in channels."""

import dataclasses

from hpa_jax.config import Config
from hpa_jax.evaluation.synthesizer import Synthesizer
from hpa_jax.images.square import lossless_aspect
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.description import describe_origin, describe_preparation
from hpa_jax.serving.kinds import FILLED_CHANNELS
from hpa_jax.training.tasks.channel_steps import OUTPUT
from hpa_jax.training.tasks.channels import channel_forms


def describe_channel_net(synthesizer: Synthesizer, trained: Config) -> dict:
    """The contents of model.json.

    Args:
      synthesizer: that is exported.
      trained: the run's own configuration.
    """
    config = synthesizer.config
    side = config.data.image_size
    forms = channel_forms(config)
    # Of all channels, and with nothing of an image left out.
    data = dataclasses.replace(
        config.data, channel_mix="rgby", aspect=lossless_aspect(config.data.aspect)
    )
    return {
        "kind": FILLED_CHANNELS,
        "input": {
            "dtype": "uint8",
            "shape": ["B", side, side, len(CHANNELS)],
            "channels": list(CHANNELS),
            "black": "a channel that is black throughout an image is one that the net does not see",
        },
        "output": f"{OUTPUT}, float32 [B, {side}, {side}, {len(forms.targets)}], 0 to 1",
        "targets": list(forms.targets),
        "sources": list(forms.sources),
        "preparation": describe_preparation(data, synthesizer.preparations()),
        "provenance": describe_origin(synthesizer.step, synthesizer.written, trained),
    }
