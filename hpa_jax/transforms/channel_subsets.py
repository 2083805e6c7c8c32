"""Which channels are predicted from which: pairs "yellow <- red, blue", and draws of them.

A net that fills in channels is trained by channel dropout: of every image a random subset of the
sources is set to black, and the net is to predict the targets that it does not see. One net then
serves every subset.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS


@dataclass(frozen=True)
class Pair:
    """A channel and those that it is predicted from.

    Attributes:
      target: its name.
      sources: names of the others, one at least, in the order of CHANNELS.
    """

    target: str
    sources: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.target} <- {', '.join(self.sources)}"

    @property
    def key(self) -> str:
        """For names of metrics and files: `yellow_from_red_blue`."""
        return f"{self.target}_from_{'_'.join(self.sources)}"


def parse_channels(text: str, setting: str) -> tuple[str, ...]:
    """Names of channels separated by commas, in the order of CHANNELS.

    Args:
      text: such as "red,blue"; one name at least.
      setting: that it is of, for the message.

    Raises:
      InputError: an unknown name, one twice, or none.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in CHANNELS]
    if unknown:
        raise InputError(
            f"{setting}={text!r}: {unknown[0]!r} is no channel; choose from {', '.join(CHANNELS)}, "
            "separated by commas"
        )
    if len(set(names)) < len(names):
        raise InputError(f"{setting}={text!r} names a channel twice; name each once")
    return tuple(name for name in CHANNELS if name in names)


def pairs_of(targets: Sequence[str], sources: Sequence[str]) -> tuple[Pair, ...]:
    """Each target with all sources other than itself, where there is one.

    Raises:
      InputError: a target has no other source.
    """
    pairs = []
    for target in targets:
        others = tuple(name for name in CHANNELS if name in sources and name != target)
        if not others:
            raise InputError(
                f"config.channels: {target} has no other channel to be predicted from; name more "
                "in config.channels.sources"
            )
        pairs.append(Pair(target, others))
    return tuple(pairs)


def draw_shown(
    key: jax.Array, images: int, targets: Sequence[str], sources: Sequence[str]
) -> jax.Array:
    """Draws which channels of each image are shown to the net.

    Of the sources a subset is shown, drawn uniformly among those that leave something to see and
    something to predict: one reference channel at least is shown (green alone, the protein, tells
    nothing of where the cells are), and one target at least is not. What is no source is never
    shown.

    Args:
      key: of the draws.
      images: their number, B.
      targets: names of the channels that the net predicts.
      sources: names of those that it may see.

    Returns:
      bool `[B, 4]`.

    Raises:
      InputError: no subset is left.
    """
    subsets = jnp.array(shown_subsets(targets, sources))
    which = jax.random.randint(key, (images,), 0, len(subsets))
    return subsets[which]


def shown_subsets(targets: Sequence[str], sources: Sequence[str]) -> list[list[bool]]:
    """The subsets among which `draw_shown` draws, each with an entry a channel."""
    subsets = []
    for number in range(1 << len(CHANNELS)):
        shown = [bool(number >> place & 1) for place in range(len(CHANNELS))]
        names = [name for name, is_shown in zip(CHANNELS, shown, strict=True) if is_shown]
        shows_reference = any(name != "green" for name in names)
        hides_target = any(name not in names for name in targets)
        if shows_reference and hides_target and set(names) <= set(sources):
            subsets.append(shown)
    if not subsets:
        raise InputError(
            f"config.channels.targets={','.join(targets)!r} leaves nothing to see of "
            f"config.channels.sources={','.join(sources)!r}; name another source"
        )
    return subsets
