"""What is done to images inside the jitted step: augmentation, channel mix, normalization.

Pure functions of arrays. They are imported when they are first used, since channel mixes are read
on the command line, which does without JAX.
"""

from hpa_jax.lazy import lazy_exports

_PUBLIC = {
    "CHANNEL_MIXES": "hpa_jax.transforms.channel_mix:CHANNEL_MIXES",
    "augment_images": "hpa_jax.transforms.augment:augment_images",
    "mixed_statistics": "hpa_jax.transforms.channel_mix:mixed_statistics",
    "parse_channel_mix": "hpa_jax.transforms.channel_mix:parse_channel_mix",
    "prepare": "hpa_jax.transforms.augment:prepare",
}

__all__ = list(_PUBLIC)

__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
