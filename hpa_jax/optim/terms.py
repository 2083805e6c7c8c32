"""The text of a weighted sum of losses: "NAME" or "NAME:WEIGHT", separated by commas."""

import math
from collections.abc import Iterable

from hpa_jax.errors import InputError


def parse_weights(terms: str, known: Iterable[str], setting: str) -> dict[str, float]:
    """The weight of each loss that a text names.

    Args:
      terms: such as "focal:0.5,lovasz"; a weight is 1 where none is given.
      known: the names that there are.
      setting: which setting the text is of, for the message: "config.train.loss".

    Raises:
      InputError: an unknown name, a name twice, or a weight that is not a number above 0.
    """
    where = f"{setting}={terms!r}"
    known = tuple(known)
    weights = {}
    for term in terms.split(","):
        name, colon, number = term.partition(":")
        name = name.strip()
        number = number.strip()
        if name not in known:
            raise InputError(
                f"{where}: {name!r} is unknown; choose from {', '.join(known)}, "
                "each NAME or NAME:WEIGHT, separated by commas"
            )
        if name in weights:
            raise InputError(f"{where} has {name!r} twice; add up its weights")
        weight = _parse_weight(number) if colon else 1.0
        if not 0 < weight < math.inf:
            raise InputError(f"{where}: the weight {number!r} of {name!r} is not a number above 0")
        weights[name] = weight
    return weights


def _parse_weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # Fails the check of its range, as a written "nan" does.
        return math.nan
