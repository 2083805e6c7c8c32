"""The rules of the builder's sources, for tests of files alone."""

from hpa_jax.images.rule import Rule, any_image

KAGGLE = Rule(("PNG",), "an eight-bit gray PNG")
HPAV18 = Rule(("JPEG",), "a JPG in the channel's colour", coloured=True, by_colour=True)
ANY = any_image()
