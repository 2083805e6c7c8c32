"""Opens the images that are to be scored, and asks what cannot be known from them."""

import dataclasses
from collections.abc import Sequence

from hpa_jax.errors import InputError
from hpa_jax.images.folder import FaultyImage, ImageFolder, find_images
from hpa_jax.images.prepare import Preparation
from hpa_jax.images.rule import any_image
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.predict.request import Request

# So many images of a folder are looked at before the work starts, spread over it.
_LOOKED_AT = 8

# A 16-bit file whose values stay below this is of a camera with fewer bits, or very dim.
_FEW_OF_16_BITS = 2**12


def open_images(
    request: Request, preparation: Preparation, others: Sequence[str] = ()
) -> ImageFolder:
    """The images, with the channels black that the net was not trained on.

    Args:
      request: what is asked for.
      preparation: of the net.
      others: further channels that are wanted, by another net.

    Raises:
      InputError: as of `find_images`; or nothing says what is white in dim files of 16 bits.
    """
    missing = []
    for channel in CHANNELS:
        is_wanted = channel in preparation.channels or channel in others
        if channel in request.missing or not is_wanted:
            missing.append(channel)
    images = find_images(
        request.images,
        pattern=request.pattern,
        channels=request.channels,
        order=request.order,
        missing=missing,
        follow_links=request.follow_links,
        rule=any_image(request.white, request.projection, request.float_range),
    )
    if request.white is not None:
        return images
    images = with_white(images, preparation)
    if images.rule.white:
        white = images.rule.white
        print(f"white is {white}, as in the images that the net learned from (--white)")
    return images


def with_white(images: ImageFolder, preparation: Preparation) -> ImageFolder:
    """The images with the white of the training set, where their files do not say their own.

    Raises:
      InputError: nothing says what is white in dim files of 16 bits.
    """
    largest = 0
    bits = 0
    for number in range(0, len(images), max(1, len(images) // _LOOKED_AT)):
        try:
            _, facts = images.read(number)
        except FaultyImage:
            # It is reported when its turn comes.
            continue
        described = facts.description
        if described.number == "float" or described.white or described.bits <= 8:
            return images
        bits = max(bits, described.bits)
        largest = max(largest, facts.largest)
    white = preparation.white_of(bits)
    if white:
        return dataclasses.replace(images, rule=dataclasses.replace(images.rule, white=white))
    # Trained on such files, the net knows them as they are.
    if bits != 16 or "16" in (preparation.white or {}):
        return images
    if 0 < largest < _FEW_OF_16_BITS:
        raise InputError(
            f"{images.where} has files of 16 bits without a value above {largest}, of which hardly "
            "a grey would be left; say which value is white: --white=4095 for a camera of 12 bits, "
            "or --white=65535 if they are that dim"
        )
    return images
