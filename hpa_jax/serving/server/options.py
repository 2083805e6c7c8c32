"""What a request says beside its files: behind the `?`, or as fields of its form.

The names and values are those of the flags of `python -m hpa_jax.serving predict`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hpa_jax.errors import InputError
from hpa_jax.images.rule import PROJECTIONS
from hpa_jax.serving.predict.arguments import (
    channels_flag,
    float_range_flag,
    missing_flag,
    order_flag,
    pixel_size_flag,
    white_flag,
)
from hpa_jax.serving.server.refusal import Refusal


@dataclass
class Options:
    """How the files of a request are read, and what the answer has.

    Attributes:
      pattern: of the names of files, with `{id}` and `{channel}`; None: found from the names.
      channels: the client's names of the channels, or None.
      order: the channel of each plane of a file with several, or None.
      missing: channels that are fed black.
      white: the value that becomes 255, or None.
      pixel_size: micrometres a pixel; None: as the files say.
      projection: of z-stacks: "max" or "mean"; "": they are refused.
      float_range: the floating-point values that become 0 and 255, or None.
      policy: "strict": one image that cannot be read refuses all; "skip": the others are scored.
      outputs: beside the probabilities: some of `embedding` and `maps`.
    """

    pattern: str | None = None
    channels: dict[str, str] | None = None
    order: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()
    white: int | None = None
    pixel_size: float | None = None
    projection: str = ""
    float_range: tuple[float, float] | None = None
    policy: str = "strict"
    outputs: tuple[str, ...] = ()


def _one_of(name: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise InputError(f"--{name}={text}: give one of {', '.join(choices)}")
        return text

    return parse


def _outputs(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.strip() for item in text.split(",") if item.strip()))


_PARSERS = {
    "pattern": str,
    "channels": channels_flag,
    "order": order_flag,
    "missing": missing_flag,
    "white": white_flag,
    "pixel_size": pixel_size_flag,
    "projection": _one_of("projection", PROJECTIONS),
    "float_range": float_range_flag,
    "policy": _one_of("policy", ("strict", "skip")),
    "outputs": _outputs,
}


def parse_options(given: Iterable[tuple[str, str]], available: tuple[str, ...]) -> Options:
    """Parses what a request says.

    Args:
      given: names and texts; an empty text counts as not given, as browsers send it.
      available: outputs that the net has.

    Raises:
      Refusal: 422, a name or a value that there is not, or an option that is given twice.
    """
    options = Options()
    seen = set()
    for name, text in given:
        if name not in _PARSERS:
            known = ", ".join(_PARSERS)
            raise Refusal(422, f"there is no option {name!r}; there are {known}")
        if not text.strip():
            continue
        if name in seen:
            # One of the two would count, and nobody would know which.
            raise Refusal(422, f"?{name} is given twice; give it once, with commas in a list")
        seen.add(name)
        try:
            setattr(options, name, _PARSERS[name](text))
        except InputError as error:
            raise Refusal(422, as_options(str(error))) from None
    for output in options.outputs:
        if output not in available:
            names = ", ".join(available)
            raise Refusal(422, f"?outputs={output}: this net has {names}")
    return options


_FLAG = re.compile(f"--({'|'.join(_PARSERS)})\\b=?")


def as_options(text: str) -> str:
    """A message with the names of options where it has those of flags."""
    return _FLAG.sub(r"?\1=", text)
