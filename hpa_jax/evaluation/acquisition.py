"""Whether images are of the kind that a run was trained on: the same channels, the same scale.

A net gives scores for any image of its size. Where a channel was not imaged, or cells are eight
times as small as in training, they mean little, and nothing in them shows it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpa_jax.config import Data
from hpa_jax.data.preparation import read_preparation, stored_pixel_size
from hpa_jax.environment.dataset_names import bare_name
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_mix import channels_of_mix
from hpa_jax.workdir import read_record

SAME_SCALE = 0.05
"""Pixel sizes that differ by a smaller fraction are the same: objectives are no more exact."""

Preparation = Mapping[str, Any]


def trained_preparations(workdir: Path, data: Data) -> dict[str, Preparation]:
    """How the images of each dataset were made that a run learns from.

    Of a run of version 0.2 or before it is read from the datasets, as far as they are there.

    Args:
      workdir: the run's folder.
      data: section of its configuration, with `sources` as trained.

    Raises:
      InputError: the folder holds no run.
    """
    stored = read_record(workdir).preparations
    found = {}
    for name in data.source_names():
        # A run has one version of a dataset, and records it without.
        bare = bare_name(name)
        if bare in stored:
            found[name] = stored[bare]
            continue
        try:
            found[name] = read_preparation(data.data_dir, name)
        except InputError:
            continue
    return found


def acquisition_warnings(workdir: Path, data: Data, names: Sequence[str]) -> list[str]:
    """A line for each way in which datasets differ from those that a run was trained on.

    What is not known of one of them is not compared.

    Args:
      workdir: the run's folder.
      data: section of its configuration, with `sources` as trained.
      names: of the datasets to be scored.

    Raises:
      InputError: the folder holds no run, or no such dataset.
    """
    trained = trained_preparations(workdir, data)
    if not trained:
        return []
    warnings = []
    for name in names:
        found = read_preparation(data.data_dir, name)
        warnings += compare(str(workdir), data, trained, name, found)
    return warnings


def compare(
    run: str, data: Data, trained: Mapping[str, Preparation], name: str, found: Preparation
) -> list[str]:
    """A line for each way in which the dataset `name` differs from those of a run.

    Args:
      run: its name, for the lines.
      data: section of its configuration.
      trained: how the images of each dataset were made that it learns from.
      name: of the dataset to be scored.
      found: how its images were made.
    """
    lines = [
        _channel_warning(run, data, trained, name, found),
        _scale_warning(run, data, trained, name, found),
    ]
    return [line for line in lines if line]


def _channel_warning(
    run: str, data: Data, trained: Mapping[str, Preparation], name: str, found: Preparation
) -> str:
    known = [preparation["channels"] for preparation in trained.values()]
    if found["channels"] is None or None in known:
        return ""
    learned = set().union(*known)
    seen = set(channels_of_mix(data.channel_mix))
    lacking = _in_order((learned - set(found["channels"])) & seen)
    added = _in_order((set(found["channels"]) - learned) & seen)
    if not lacking and not added:
        return ""
    names = ", ".join(trained)
    text = f"{run} was trained on images of {_listed(_in_order(learned))} ({names}), and in "
    if lacking:
        return (
            f"{text}{name} {_listed(lacking)} {_were(lacking)} not imaged and {_are(lacking)} "
            f"black: its scores say little{_channel_advice(data, lacking)}"
        )
    return (
        f"{text}{name} {_listed(added)} {_were(added)} imaged, too, which the run has only seen "
        "black: its scores say little; build that dataset without it (--channels)"
    )


def _channel_advice(data: Data, lacking: Sequence[str]) -> str:
    """What to do, or that it was done."""
    if "green" in lacking:
        return "; give images of the protein, which is green"
    return (
        "; train with --config.augment.channel_dropout, or with a --config.data.channel_mix "
        f"without {_listed(lacking)}"
    )


def _scale_warning(
    run: str, data: Data, trained: Mapping[str, Preparation], name: str, found: Preparation
) -> str:
    here = _pixel_size_seen(found, data)
    if here is None:
        return ""
    scales = {}
    for source, preparation in trained.items():
        scales[source] = _pixel_size_seen(preparation, data)
    # Whoever has learnt one of the scales knows it.
    if None in scales.values() or any(_is_same(scale, here) for scale in scales.values()):
        return ""
    nearest = min(scales, key=lambda source: abs(scales[source] - here))
    factor = here / scales[nearest]
    look = f"{factor:.2g} times smaller"
    if factor < 1:
        look = f"{1 / factor:.2g} times larger"
    return (
        f"{run} was trained at a pixel size of {scales[nearest]:.2g} micrometres ({nearest}), "
        f"which is {here:.2g} in {name}, as the net sees them: cells look {look} to it; build both "
        "datasets at one scale (--pixel_size with --rescale), or train on images like these"
    )


def _pixel_size_seen(preparation: Preparation, data: Data) -> float | None:
    """Micrometres a pixel of the square that the net sees.

    Where images have several sizes, each is resized by a factor of its own: the scale as stored
    is all that can be compared, and only with another such dataset.
    """
    stored = stored_pixel_size(preparation)
    size = preparation.get("size")
    if stored is None or not size:
        return None
    side = min(size) if data.aspect == "crop" else max(size)
    return stored * side / data.image_size


def _is_same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_SCALE * max(a, b)


def _in_order(channels: set[str]) -> list[str]:
    return [channel for channel in CHANNELS if channel in channels]


def _listed(names: Sequence[str]) -> str:
    """red, green and blue"""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _were(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
