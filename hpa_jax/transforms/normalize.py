"""How images are normalised: the channel statistics of a source, as keyword arguments of `augment.prepare`."""

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_mix import parse_mix


def preparation(config: Config) -> dict:
    """Keyword arguments of `augment.prepare` for fields of `config.data.name`."""
    number = config.source_names().index(statistics_source(config))
    return preparation_of(config, *(figures[number] for figures in _figures(config)))


def statistics_source(config: Config) -> str:
    """By which source's figures fields of `config.data.name` are shown: its own, or of no source, the first one's."""
    names = config.source_names()
    return config.data.name if config.data.name in names else names[0]


def preparation_of(config: Config, mean: tuple, std: tuple) -> dict:
    data, mix = config.data, parse_mix(config.data.mix)
    if data.input_mean and len(data.input_mean) != len(mix):
        raise InputError(
            f"config.data.input_mean={data.input_mean!r}, but config.data.mix={data.mix!r} has {len(mix)} channels; "
            "give one figure for each, or none: --config.data.input_mean=() --config.data.input_std=()"
        )
    shown = (tuple(data.input_mean), tuple(data.input_std)) if data.input_mean else None
    return {"mix": mix, "mean": mean, "std": std, "shown": shown}


def _figures(config: Config) -> tuple[tuple, tuple]:
    """Means and deviations, each a tuple of four for every source."""
    data, sources = config.data, len(config.source_names())
    mean, std = (
        (v,) * sources if len(v) == len(CHANNELS) else _cut(v) for v in (data.mean, data.std)
    )
    return tuple(map(tuple, mean)), tuple(map(tuple, std))


def statistics_by_source(config: Config) -> tuple[tuple, tuple]:
    """Means and deviations as `steps.make_train_step` takes them: of several sources a row each."""
    mean, std = _figures(config)
    return (mean[0], std[0]) if len(mean) == 1 else (mean, std)


def _cut(values: tuple) -> list[tuple]:
    return [values[at : at + len(CHANNELS)] for at in range(0, len(values), len(CHANNELS))]
