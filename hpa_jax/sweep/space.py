"""The values that a sweep may choose from: what a recipe declares, checked against the settings.

A recipe has, beside `get_config()`:

    def search_space():
        return {
            "optim.lr": Range(1e-4, 1e-2, log=True),
            "optim.schedule": Choice(("constant", "cosine_onecycle")),
        }
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpa_jax.config import Config, check
from hpa_jax.errors import InputError
from hpa_jax.recipes.load import run_recipe

Value = bool | int | float | str


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
      low: the smallest; an int for a setting that is one.
      high: the largest.
      log: drawn evenly by their logarithm; `low` is then above 0.
    """

    low: float
    high: float
    log: bool = False

    def contains(self, value: Value) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """One of two or more `values`: bools, ints, floats or texts."""

    values: tuple[Value, ...]

    def contains(self, value: Value) -> bool:
        return value in self.values


SearchSpace = Mapping[str, Range | Choice]
"""By `section.field`, in the order of the recipe."""

_SECTIONS = ("data", "model", "augment", "optim", "train", "loss")

# With another value of these, runs could not be compared: other images, labels or evaluations.
_NOT_SEARCHED = (
    "data.aspect",
    "data.data_dir",
    "data.eval_split",
    "data.fold",
    "data.labels",
    "data.name",
    "data.threads",
    "data.vocabulary",
    "train.eval_every",
    "train.log_every",
    "train.profile",
    "train.tracker",
)


def load_search_space(recipe: str, config: Config) -> dict[str, Range | Choice]:
    """Runs a recipe's `search_space()`.

    Args:
      recipe: path of the recipe.
      config: of the sweep's runs; it is not changed.

    Raises:
      InputError: the recipe declares none, or names the setting whose range is wrong.
    """
    declare = getattr(run_recipe(recipe), "search_space", None)
    if declare is None:
        raise InputError(
            f"--config={recipe} declares no search_space(), so there is nothing to search; add "
            "one, as configs/quickstart.py has it (docs/search.md)"
        )
    try:
        space = declare()
    except Exception as error:
        raise InputError(f"--config={recipe}: {type(error).__name__}: {error}") from error
    if not isinstance(space, dict) or not space:
        raise InputError(
            f"--config={recipe}: search_space() returns no dict of settings and ranges"
        )
    checked = {}
    for name, values in space.items():
        try:
            checked[name] = _checked(name, values, config)
        except InputError as error:
            raise InputError(f"--config={recipe}, search_space(): {error}") from None
    return checked


def _checked(name: str, values: Any, config: Config) -> Range | Choice:
    """What may be tried of a setting, in its own type."""
    current = _searched_value(name, config)
    if isinstance(values, Range):
        _check_range(name, values, current)
        number = type(current)
        values = Range(number(values.low), number(values.high), values.log)
        candidates = (values.low, values.high)
    elif isinstance(values, Choice):
        _check_choice(name, values, current)
        candidates = values.values
    else:
        raise InputError(f"{name}: {values!r} is no Range and no Choice")
    for value in candidates:
        check(with_values(config, {name: value}))
    return values


def _searched_value(name: str, config: Config) -> Value:
    """The value that a setting has without a sweep."""
    section_name, _, field_name = str(name).partition(".")
    section = getattr(config, section_name, None)
    is_setting = dataclasses.is_dataclass(section) and hasattr(section, field_name)
    if not is_setting:
        raise InputError(
            f"{name!r} is no setting; write it as SECTION.FIELD, for instance 'optim.lr'"
        )
    if section_name not in _SECTIONS or name in _NOT_SEARCHED:
        raise InputError(
            f"{name} cannot be searched: a sweep's runs differ in how they learn, not in what they "
            "are evaluated on"
        )
    value = getattr(section, field_name)
    if isinstance(value, tuple):
        raise InputError(f"{name} cannot be searched: it is a tuple")
    return value


def _check_range(name: str, values: Range, current: Value) -> None:
    if type(current) not in (int, float):
        raise InputError(f"{name} is no number; give a Choice")
    numbers = (values.low, values.high)
    wanted = (int,) if type(current) is int else (int, float)
    if any(type(number) not in wanted for number in numbers):
        raise InputError(f"{name}: the ends of {values} are not of type {type(current).__name__}")
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"{name}: {values} has an end that is not finite")
    if not values.low < values.high:
        raise InputError(f"{name}: {values} is empty; low has to be below high")
    if values.log and values.low <= 0:
        raise InputError(f"{name}: {values} has no logarithm at its low end")


def _check_choice(name: str, values: Choice, current: Value) -> None:
    if not isinstance(values.values, tuple) or len(values.values) < 2:
        raise InputError(f"{name}: {values} is no tuple of two or more values")
    if any(type(value) is not type(current) for value in values.values):
        raise InputError(f"{name}: {values} has values that are no {type(current).__name__}")
    if len(set(values.values)) < len(values.values):
        raise InputError(f"{name}: {values} has a value twice")


def with_values(config: Config, values: Mapping[str, Value]) -> Config:
    """A configuration with other values of some settings; `config` is not changed."""
    for name, value in values.items():
        section_name, _, field_name = name.partition(".")
        section = dataclasses.replace(getattr(config, section_name), **{field_name: value})
        config = dataclasses.replace(config, **{section_name: section})
    return config


def recipe_values(space: SearchSpace, config: Config) -> dict[str, Value]:
    """What a configuration has for the settings that are searched."""
    return {name: _searched_value(name, config) for name in space}


def contains(space: SearchSpace, values: Mapping[str, Value]) -> bool:
    """Whether every value lies within its range."""
    return all(space[name].contains(value) for name, value in values.items())


def to_json(space: SearchSpace) -> dict[str, dict[str, Any]]:
    """The form of sweep.json: `{"low", "high", "log"}` or `{"values"}` for each setting."""
    plain = {}
    for name, values in space.items():
        plain[name] = dataclasses.asdict(values)
        if isinstance(values, Choice):
            plain[name] = {"values": list(values.values)}
    return plain
