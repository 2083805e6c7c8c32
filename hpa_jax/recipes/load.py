"""The configuration of a recipe or a run, and how its fields are set."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import config_flags

from hpa_jax.config import Config, check, expand_paths
from hpa_jax.deprecations import rename_flags
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.workdir import read_config


def load_config(path: str | Path, **overrides: Any) -> Config:
    """The configuration of a recipe or of a run.

    Args:
      path: of a recipe (a .py file, which is executed), or a run's folder.
      overrides: values of fields, each named `section__field`: `data__batch_size=8`.

    Raises:
      InputError: there is no recipe or run, or names the field that is unknown or out of range.
    """
    path = local_path(path)
    config = read_config(path) if path.is_dir() else load_recipe(str(path))
    for name, value in overrides.items():
        _set_field(config, name, value)
    config = expand_paths(config)
    check(config)
    return config


def _set_field(config: Config, name: str, value: Any) -> None:
    section_name, _, field_name = name.partition("__")
    section = getattr(config, section_name, None)
    if not dataclasses.is_dataclass(section) or not hasattr(section, field_name):
        raise InputError(
            f"{name}={value!r} names no field of a configuration; "
            "write section__field, for instance data__batch_size=8"
        )
    wanted = type(getattr(section, field_name))
    if wanted is float and type(value) is int:
        value = float(value)
    if wanted is tuple and isinstance(value, list):
        value = tuple(value)
    if type(value) is not wanted:
        raise InputError(f"{name}={value!r} is no {wanted.__name__}")
    setattr(section, field_name, value)


def run_recipe(path: str) -> ModuleType:
    """Runs a recipe's file, which defines `get_config()`.

    It is a program: never run one that came with a run or from the network.

    Raises:
      InputError: there is no such file, or it fails.
    """
    if not local_path(path, "--config").is_file():
        recipes = sorted(str(recipe) for recipe in Path("configs").glob("*.py"))
        there = ", ".join(recipes) or "none below configs/ here"
        raise InputError(f"--config={path}: no such recipe; there are: {there}")
    spec = importlib.util.spec_from_file_location("recipe", local_path(path))
    if spec is None:
        raise InputError(f"--config={path}: a recipe is a .py file")
    recipe = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(recipe)
    except Exception as error:
        raise InputError(f"--config={path}: {type(error).__name__}: {error}") from error
    return recipe


def load_recipe(path: str) -> Config:
    """Runs a recipe and its `get_config()`.

    Raises:
      InputError: there is no such file, or it does not return a Config.
    """
    recipe = run_recipe(path)
    try:
        config = recipe.get_config()
    except Exception as error:
        raise InputError(f"--config={path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise InputError(
            f"--config={path}: get_config() returns a {type(config).__name__}, "
            "not a hpa_jax.config.Config"
        )
    return config


def override(config: Config, arguments: Sequence[str]) -> Config:
    """Applies `--config.SECTION.FIELD=VALUE` flags, typed by ml_collections.

    Args:
      config: is changed.
      arguments: of the command line.

    Raises:
      InputError: an unknown field, a value of the wrong type, or an argument that is no such
        flag.
    """
    command = ["", *rename_flags(arguments)]
    values = flags.FlagValues()
    try:
        holder = config_flags.DEFINE_config_dataclass(
            "config", config, flag_values=values, sys_argv=command
        )
        remaining = values(command)[1:]
    except (flags.Error, KeyError, ValueError, TypeError, AttributeError) as error:
        # str() of a KeyError quotes its text once more.
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        one_line = " ".join(str(text).split())
        raise InputError(f"{one_line}; --help lists the fields") from error
    if remaining:
        raise InputError(
            f"{remaining[0]!r} is no flag; fields are set with --config.SECTION.FIELD=VALUE"
        )
    return holder.value
