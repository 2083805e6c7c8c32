"""A run's configuration: all sections, and its forms in `config.json` and on the command line."""

import dataclasses
import sys
import textwrap
import typing
from dataclasses import dataclass, field
from typing import Any

from hpa_jax.config.cell_masks import CellMasks
from hpa_jax.config.cells import Cells
from hpa_jax.config.channels import Channels
from hpa_jax.config.data import Data
from hpa_jax.config.fusion import Fusion
from hpa_jax.config.learning import Augment, Checkpoint, Loss, Model, Optim, Train
from hpa_jax.config.machine import Devices, Plan, Sweep, Verify
from hpa_jax.config.metric import Metric
from hpa_jax.config.results import Evaluate, Export, Predict, Probe, Report, Segment
from hpa_jax.deprecations import current_spelling
from hpa_jax.environment.paths import expand_path
from hpa_jax.errors import InputError


@dataclass(slots=True)
class Config:
    """A run, in sections."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    loss: Loss = field(default_factory=Loss)
    cell_masks: CellMasks = field(default_factory=CellMasks)
    metric: Metric = field(default_factory=Metric)
    channels: Channels = field(default_factory=Channels)
    fusion: Fusion = field(default_factory=Fusion)
    cells: Cells = field(default_factory=Cells)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    evaluate: Evaluate = field(default_factory=Evaluate)
    export: Export = field(default_factory=Export)
    predict: Predict = field(default_factory=Predict)
    segment: Segment = field(default_factory=Segment)
    probe: Probe = field(default_factory=Probe)
    report: Report = field(default_factory=Report)
    devices: Devices = field(default_factory=Devices)
    plan: Plan = field(default_factory=Plan)
    verify: Verify = field(default_factory=Verify)
    sweep: Sweep = field(default_factory=Sweep)

    def label_ids(self) -> tuple[int, ...]:
        """As `Data.label_ids`."""
        return self.data.label_ids()

    def label_names(self) -> tuple[str, ...]:
        """As `Data.label_names`."""
        return self.data.label_names()

    def source_names(self) -> tuple[str, ...]:
        """As `Data.source_names`."""
        return self.data.source_names()

    def source_weights(self) -> tuple[float, ...]:
        """As `Data.source_weights`."""
        return self.data.source_weights()


def expand_paths(config: Config) -> Config:
    """The configuration with `~` replaced in its paths; `config` is not changed.

    Raises:
      InputError: a path is a URL, or names a home folder that is not known.
    """
    sections = {}
    for section_field in dataclasses.fields(config):
        section = getattr(config, section_field.name)
        expanded = {}
        for item in dataclasses.fields(section):
            kind = item.metadata["path"]
            value = getattr(section, item.name)
            name = f"config.{section_field.name}.{item.name}"
            if kind == "one":
                expanded[item.name] = expand_path(value, name)
            elif kind == "listed":
                paths = [expand_path(path, name) for path in value.split(",")]
                expanded[item.name] = ",".join(paths)
        sections[section_field.name] = dataclasses.replace(section, **expanded)
    return Config(**sections)


RUN = "run"
"""The one key of config.json that is no section: what the run is (`hpa_jax.workdir.RunRecord`)."""


def to_dict(config: Config) -> dict:
    """The resolved form that `config.json` holds: nested dicts, tuples as lists."""
    sections = dataclasses.asdict(config)
    for values in sections.values():
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = list(value)
    return sections


_NOT_OF_STEPS = (
    "checkpoint",
    "evaluate",
    "export",
    "predict",
    "segment",
    "probe",
    "report",
    "plan",
    "verify",
    "sweep",
)


def settings_of_steps(config: Config) -> dict:
    """As `to_dict`, the sections alone that training and evaluation steps can depend on."""
    sections = to_dict(config)
    for name in _NOT_OF_STEPS:
        del sections[name]
    return sections


def from_dict(sections: dict) -> Config:
    """The inverse of `to_dict`; old spellings are translated, missing fields take their defaults.

    What `hpa_jax.workdir` keeps beside the sections, under the key RUN, is passed over.

    Raises:
      InputError: names a field that is unknown, or has a value of another type.
    """
    config = Config()
    known_sections = _field_types(config)
    for section_name, values in sections.items():
        if section_name == RUN:
            continue
        if section_name not in known_sections or not isinstance(values, dict):
            raise InputError(
                f"{section_name!r} is no section of a configuration; "
                "was it written by another version?"
            )
        section = getattr(config, section_name)
        known = _field_types(section)
        for old_name, value in values.items():
            setting_name, value = current_spelling(f"{section_name}.{old_name}", value, warn=False)
            if setting_name is None:
                continue
            name = setting_name.rpartition(".")[2]
            if name not in known:
                raise InputError(
                    f"{setting_name} is no field of a configuration; "
                    "was it written by another version?"
                )
            if isinstance(value, list):
                value = tuple(value)
            if not _is_of_type(value, known[name]):
                raise InputError(f"config.{setting_name}={value!r} is of another type")
            setattr(section, name, value)
    return config


def _is_of_type(value: Any, wanted: Any) -> bool:
    """Whether a value from JSON is of the type that a field is declared with."""
    if typing.get_origin(wanted) is tuple:
        item_type = typing.get_args(wanted)[0]
        return isinstance(value, tuple) and all(_is_of_type(item, item_type) for item in value)
    if wanted is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is wanted


def _field_types(section: Any) -> dict[str, Any]:
    return {item.name: item.type for item in dataclasses.fields(section)}


def differences(a: Config, b: Config) -> dict[str, tuple]:
    """`{'section.field': (value in a, value in b)}` for each field in which they differ."""
    sections_a = to_dict(a)
    sections_b = to_dict(b)
    differing = {}
    for section, values in sections_a.items():
        for name, value in values.items():
            other = sections_b[section][name]
            if value != other:
                differing[f"{section}.{name}"] = (value, other)
    return differing


def help_text() -> str:
    """Every setting as the flag that sets it, with its default, what it means and its range."""
    lines = []
    for section_field in dataclasses.fields(Config):
        section = section_field.default_factory
        lines += ["", f"{section_field.name}: {section.__doc__}"]
        for item in dataclasses.fields(section):
            lines.append(f"  --config.{section_field.name}.{item.name}={item.default!r}")
            meaning = item.metadata["help"]
            if item.metadata["allowed"]:
                meaning += f" [{item.metadata['allowed']}]"
            lines.append(
                textwrap.indent(textwrap.fill(meaning, 90, break_on_hyphens=False), " " * 6)
            )
    return "\n".join(lines)
