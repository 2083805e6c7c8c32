"""How a field of a section is declared: its default, its range and its line of `--help`."""

from collections.abc import Callable
from dataclasses import field
from typing import Any


def setting(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    or_zero: bool = False,
    choices: tuple[str, ...] = (),
    accepts: Callable[[Any], bool] | None = None,
    allowed: str = "",
    path: str = "",
) -> Any:
    """A field of a section, with what `check` and `--help` need to know of it.

    Args:
      default: immutable.
      help: what it sets, with its unit.
      at_least, above, at_most, below: the range of a number.
      or_zero: 0, which then switches something off, is allowed outside that range too.
      choices: in place of a range, the values that are allowed.
      accepts: in place of a range, a test of the value.
      allowed: what `accepts` lets pass, in words.
      path: "one" for a path, "listed" for several separated by commas: `expand_paths` replaces `~`.
    """
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    bounds = {word: bound for word, bound in bounds.items() if bound is not None}

    def in_range(value: float) -> bool:
        if or_zero and value == 0:
            return True
        # A NaN compares as False, so it is in no range.
        return all(_COMPARISONS[word](value, bound) for word, bound in bounds.items())

    if choices:
        accepts = choices.__contains__
        allowed = ", ".join(choice or "''" for choice in choices)
    elif accepts is None:
        accepts = in_range
        allowed = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items())
        if or_zero:
            allowed = f"0, or {allowed}"
    metadata = {"help": help, "accepts": accepts, "allowed": allowed, "path": path}
    return field(default=default, metadata=metadata)


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "at least": lambda value, bound: value >= bound,
    "above": lambda value, bound: value > bound,
    "at most": lambda value, bound: value <= bound,
    "below": lambda value, bound: value < bound,
}


def listed(text: str) -> tuple[str, ...]:
    """The items of a field that lists names or folders separated by commas."""
    return tuple(item.strip() for item in text.split(",") if item.strip())
