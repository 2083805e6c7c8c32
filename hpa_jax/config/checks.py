"""Refuses values that no type can refuse."""

import dataclasses
from typing import Any

from hpa_jax.config.data import Data
from hpa_jax.config.run_config import Config
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS


def check(config: Config) -> None:
    """Refuses values out of range, which no type can.

    Names of nets, losses and the like are checked where their tables are.

    Raises:
      InputError: names the field, its value, and what is allowed.
    """
    for section_field in dataclasses.fields(config):
        section = getattr(config, section_field.name)
        for item in dataclasses.fields(section):
            value = getattr(section, item.name)
            if not item.metadata["accepts"](value):
                name = f"{section_field.name}.{item.name}"
                raise _out_of_range(name, value, item.metadata["allowed"])
    check_label_ids(config.data)
    _check_channel_statistics(config.data)
    devices = config.devices
    if not -1 <= devices.process < max(1, devices.processes):
        allowed = "0 to below config.devices.processes; -1: as the cluster says"
        raise _out_of_range("devices.process", devices.process, allowed)


def check_label_ids(data: Data) -> None:
    """Refuses ids of labels that the vocabulary does not have, once that is known.

    Raises:
      InputError: names them.
    """
    if not data.vocabulary:
        return
    known = len(data.vocabulary)
    if any(label >= known for label in data.labels):
        name = data.named_vocabulary().name
        raise _out_of_range("data.labels", data.labels, f"ids 0 to {known - 1} of {name}")


def _check_channel_statistics(data: Data) -> None:
    for_every_source = len(CHANNELS) * len(data.source_names())
    if len(data.mean) not in (0, len(CHANNELS), for_every_source):
        allowed = "four fractions of 255 for each source"
        raise _out_of_range("data.mean", data.mean, allowed)
    # The same bounds as of a dataset's own (hpa_jax.data.metadata.statistics_fault).
    if not all(0 <= value <= 1 for value in data.mean):
        raise _out_of_range("data.mean", data.mean, "fractions of 255, from 0 to 1")
    if not _are_stds(data.std, data.mean, at_most=1):
        allowed = "as many fractions of 255 above 0 as data.mean has, none above 1"
        raise _out_of_range("data.std", data.std, allowed)
    # Inputs may be weighted sums, or in other units: these bounds tell values from rubbish.
    if not all(-_LARGEST_INPUT <= value <= _LARGEST_INPUT for value in data.input_mean):
        allowed = f"values from {-_LARGEST_INPUT:g} to {_LARGEST_INPUT:g}"
        raise _out_of_range("data.input_mean", data.input_mean, allowed)
    if not _are_stds(data.input_std, data.input_mean, at_most=_LARGEST_INPUT):
        allowed = f"as many values above 0 as data.input_mean has, up to {_LARGEST_INPUT:g}"
        raise _out_of_range("data.input_std", data.input_std, allowed)


_LARGEST_INPUT = 1e4


def _are_stds(std: tuple[float, ...], mean: tuple[float, ...], *, at_most: float) -> bool:
    # Written so that a NaN is refused.
    return len(std) == len(mean) and all(0 < value <= at_most for value in std)


def _out_of_range(name: str, value: Any, allowed: str) -> InputError:
    return InputError(f"config.{name}={value!r} is out of range; allowed: {allowed}")
