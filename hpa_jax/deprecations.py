"""Everything published under a name that has changed since, in one place.

An old spelling is still read, with one line on stderr that names the new one. Here are the
names of settings, the values of settings, and the keys of JSON files; the dataset builder has a
table of its own. What a version no longer accepts is deleted from these tables.

- Settings are renamed wherever one is written: as a flag (`rename_flags`), and as an attribute
  or an argument of a section of the configuration (`accept_old_names`), which is how recipes
  write them.
- `config.json` of older runs is translated without a word: nobody can be asked to edit it.
"""

import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LAST_VERSION = "0.4"
"""The version from which on old spellings are refused."""

RENAMED_SETTINGS = {
    "data.mix": "data.channel_mix",
    "data.shown_mean": "data.input_mean",
    "data.shown_std": "data.input_std",
    "plan.fields": "plan.images",
}

REMOVED_SETTINGS = {
    "train.log_ids": "the error of a loss that is not finite names the Ids of its batch by itself",
}

RENAMED_VALUES = {
    "model.head": {"seed": "hpa_densenet"},
    "data.sampling": {"seed": "hpa_densenet"},
    "data.channel_mix": {
        "seed_i": "hpa_densenet_i",
        "seed_ii": "hpa_densenet_ii",
        "seed_iii": "hpa_densenet_iii",
    },
}

# Keys of JSON objects in files that runs and exports keep.
EVALUATION_KEYS = {"fields": "images", "views": "tta"}
METRICS_KEYS = {"hbm_share": "hbm_fraction"}
EXPORT_KEYS = {"views": "tta", "mix": "channel_mix"}

_FLAG = re.compile(r"(--?config\.)(\w+\.\w+)(=.*)?", re.DOTALL)

_warned: set[str] = set()


def rename_flags(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments with the current names of settings.

    Args:
      arguments: `--config.SECTION.FIELD=VALUE` or `--config.SECTION.FIELD VALUE`, and any others.

    Returns:
      The arguments, without those of settings that were removed.
    """
    renamed = []
    after_removed = False
    for argument in arguments:
        match = _FLAG.fullmatch(argument)
        if match is None:
            is_value_of_removed = after_removed and not argument.startswith("-")
            if not is_value_of_removed:
                renamed.append(argument)
            after_removed = False
            continue
        dashes, setting, value = match.groups(default="")
        after_removed = False
        if setting in REMOVED_SETTINGS:
            _warn_removed(setting)
            after_removed = not value
        elif setting in RENAMED_SETTINGS:
            _warn_renamed(setting)
            renamed.append(dashes + RENAMED_SETTINGS[setting] + value)
        else:
            renamed.append(argument)
    return renamed


def current_spelling(setting: str, value: Any, *, warn: bool = True) -> tuple[str | None, Any]:
    """The current name of a setting and the current spelling of its value.

    Args:
      setting: `section.field`, as published by this version or an older one.
      value: of any type; only strings have old spellings.
      warn: print a line on stderr where either has changed.

    Returns:
      Name and value; the name is None for a setting that was removed.
    """
    if setting in REMOVED_SETTINGS:
        if warn:
            _warn_removed(setting)
        return None, value
    if setting in RENAMED_SETTINGS:
        if warn:
            _warn_renamed(setting)
        setting = RENAMED_SETTINGS[setting]
    values = RENAMED_VALUES.get(setting, {})
    if isinstance(value, str) and value in values:
        current = values[value]
        if warn:
            change = f"config.{setting}={value} is now config.{setting}={current}"
            _warn(change, "the old value")
        value = current
    return setting, value


def accept_old_names(section: str) -> Callable[[type], type]:
    """Decorates a section of the configuration, where old names and values are then translated.

    Args:
      section: its name, "data" for instance.
    """
    prefix = f"{section}."

    def decorate(cls: type) -> type:
        init = cls.__init__

        @functools.wraps(init)
        def init_with_current_names(self, *args, **settings):
            current = {}
            for name, value in settings.items():
                setting, value = current_spelling(prefix + name, value)
                if setting is not None:
                    current[setting.removeprefix(prefix)] = value
            init(self, *args, **current)

        def set_current(self, name, value):
            setting, value = current_spelling(prefix + name, value)
            if setting is not None:
                object.__setattr__(self, setting.removeprefix(prefix), value)

        def get_renamed(self, name):
            # Python comes here only for attributes that the class does not have.
            renamed = RENAMED_SETTINGS.get(prefix + name)
            if renamed is None:
                raise AttributeError(f"{cls.__name__!r} object has no attribute {name!r}")
            _warn_renamed(prefix + name)
            return getattr(self, renamed.removeprefix(prefix))

        cls.__init__ = init_with_current_names
        cls.__setattr__ = set_current
        cls.__getattr__ = get_renamed
        return cls

    return decorate


def current_keys(record: dict, renamed: Mapping[str, str]) -> dict:
    """A JSON object as this version writes it.

    Args:
      record: as read.
      renamed: current names by old ones, such as EVALUATION_KEYS.

    Returns:
      A new dict, in the order of `record`.
    """
    return {renamed.get(key, key): value for key, value in record.items()}


def _warn_renamed(setting: str) -> None:
    _warn(f"config.{setting} is now config.{RENAMED_SETTINGS[setting]}", "the old name")


def _warn_removed(setting: str) -> None:
    _warn(f"config.{setting} has no effect now: {REMOVED_SETTINGS[setting]}", "the flag")


def _warn(change: str, what: str) -> None:
    """One line on stderr, once per process."""
    if change in _warned:
        return
    _warned.add(change)
    print(f"{change}; {what} is accepted until version {LAST_VERSION}", file=sys.stderr)
