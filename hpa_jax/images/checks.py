"""What a rule asks of a description, of files for one channel and for all of them."""

from collections.abc import Sequence

from hpa_jax.errors import printable
from hpa_jax.images.header import Description
from hpa_jax.images.rule import Rule
from hpa_jax.images.store import Refused

_LONGEST_NAME = 40
_MOST_NAMES = 8


def check_depth(description: Description, rule: Rule, save: str) -> None:
    """Raises Refused for a z-stack unless the rule has a projection.

    Args:
      description: of the file.
      rule: of the source.
      save: what to do instead.
    """
    if description.depth_planes > 1 and not rule.projection:
        raise Refused(
            f"is a z-stack of {description.depth_planes} planes; ask for a projection (max or "
            f"mean), or {save}"
        )


def check_numbers(description: Description, rule: Rule, save: str) -> None:
    """Raises Refused unless the rule accepts the depth and kind of a file's numbers.

    Args:
      description: of the file.
      rule: of the source.
      save: what to do instead.
    """
    bits = description.bits
    if description.number == "float":
        if rule.float_range is None:
            raise Refused(
                "is of floating-point numbers; save it with unsigned integers of 8 or 16 bits, "
                "or state which values are black and white (float_range)"
            )
        if bits != 32:
            raise Refused(f"has floating-point numbers of {bits} bits, not 32; {save}")
        return
    # 32 in a rule means floating-point numbers.
    if bits not in rule.bits or bits > 16:
        *others, last = [str(accepted) for accepted in rule.bits if accepted <= 16]
        accepted = f"{', '.join(others)} or {last}" if others else last
        raise Refused(f"has {bits} bits a pixel, not {accepted}; {save}")
    if rule.white and rule.white >= 2**bits:
        raise Refused(
            f"has {bits} bits a pixel, too few for white={rule.white}; put one of the two right"
        )


def listed(names: Sequence[str]) -> str:
    """Names of channels in brackets for a message; empty if none is known."""
    if not any(names):
        return ""
    shown = [name[:_LONGEST_NAME] or "?" for name in names[:_MOST_NAMES]]
    more = ", ..." if len(names) > _MOST_NAMES else ""
    text = printable(", ".join(shown))
    return f" ({text}{more})"
