"""Which channel statistics images are normalized with.

A resolved `data` section has the mean and std of the four stored channels for each source of
images. They become keyword arguments of `augment.prepare` here: those of one source to evaluate,
those of all sources to train on. Nothing here reads a file.
"""

from hpa_jax.config import Data
from hpa_jax.environment.dataset_names import bare_name
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_mix import ChannelMix, parse_channel_mix

Rows = tuple[tuple[float, ...], ...]


def preparation(data: Data) -> dict:
    """Keyword arguments of `augment.prepare` for images of the dataset `data.name`.

    Args:
      data: resolved (`hpa_jax.data.pipeline.resolve_data`).

    Raises:
      InputError: `data.input_mean` has another number of channels than `data.channel_mix`.
    """
    source = data.source_names().index(statistics_source(data))
    mean = _by_source(data, data.mean)[source]
    std = _by_source(data, data.std)[source]
    return _arguments(data, mean, std)


def preparation_by_source(data: Data) -> dict:
    """The same for images of all sources together.

    With several sources, `mean` and `std` have a row for each of them; the training step picks the
    rows of the images in a batch by their `source` (`hpa_jax.training.steps.make_train_step`).

    Args:
      data: resolved (`hpa_jax.data.pipeline.resolve_data`).

    Raises:
      InputError: as of `preparation`.
    """
    mean = _by_source(data, data.mean)
    std = _by_source(data, data.std)
    if len(mean) == 1:
        return _arguments(data, mean[0], std[0])
    return _arguments(data, mean, std)


def statistics_source(data: Data) -> str:
    """The source whose channel statistics normalize images of `data.name`.

    It is that dataset itself, or the first source if it is none of them.
    """
    names = data.source_names()
    for name in names:
        if bare_name(name) == bare_name(data.name):
            return name
    return names[0]


def _arguments(data: Data, mean: tuple, std: tuple) -> dict:
    channel_mix = parse_channel_mix(data.channel_mix)
    return {
        "channel_mix": channel_mix,
        "mean": mean,
        "std": std,
        "input_statistics": _input_statistics(data, channel_mix),
    }


def _input_statistics(data: Data, channel_mix: ChannelMix) -> Rows | None:
    """Mean and std of the net's own channels, where they are configured."""
    if not data.input_mean:
        return None
    if len(data.input_mean) != len(channel_mix):
        raise InputError(
            f"config.data.input_mean={data.input_mean!r}, but "
            f"config.data.channel_mix={data.channel_mix!r} has {len(channel_mix)} channels; give "
            "one value for each, or none: --config.data.input_mean=() --config.data.input_std=()"
        )
    return tuple(data.input_mean), tuple(data.input_std)


def _by_source(data: Data, values: tuple[float, ...]) -> Rows:
    """Four values for each source; `values` has four for all of them, or four for each."""
    sources = len(data.source_names())
    channels = len(CHANNELS)
    if len(values) == channels:
        return (tuple(values),) * sources
    rows = []
    for start in range(0, len(values), channels):
        rows.append(tuple(values[start : start + channels]))
    return tuple(rows)
