"""How good filled-in channels are where the truth is there, beside the two baselines.

All is compared as the net sees it, in squares of its size: what was made smaller for the net and
larger again afterwards has nothing finer. The baselines are fitted on images that the net has
learnt from.
"""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from hpa_jax.config import Config
from hpa_jax.data import pipeline
from hpa_jax.evaluation.channel_figures import NET, RAW, RIDGE, ChannelFigures
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics import channel_baselines
from hpa_jax.serving.synthesize.images import Images
from hpa_jax.serving.synthesize.pictures import Pictures
from hpa_jax.transforms.channel_subsets import Pair


def rows_of_figures(
    config: Config,
    images: Images,
    pictures: Pictures,
    wanted: Sequence[str],
    shown: Sequence[str],
) -> list[dict]:
    """Rows of `ChannelFigures`; empty where no image has the truth.

    Args:
      config: of the run, resolved; `config.channels.baseline_images` says on how many training
        images the baselines are fitted.
      images: whose channels were made.
      pictures: what was made.
      wanted: names of the channels that were.
      shown: from which.

    Raises:
      InputError: an image cannot be read, or the training images are not there.
    """
    there = [name for name in wanted if name not in images.missing]
    if not there:
        return []
    pairs = [Pair(target, tuple(shown)) for target in there]
    fits = baselines(config, pairs)
    figures = ChannelFigures()
    groups: dict[Pair, list[int]] = {pair: [] for pair in pairs}
    numbers = tqdm(range(len(images.ids)), desc="figures", unit="image", disable=None)
    for number in numbers:
        prepared = images.read(number)
        for pair in pairs:
            truth = prepared.square[..., CHANNELS.index(pair.target)]
            if not truth.any():
                continue
            made = pictures.read(images.ids[number], pair.target)
            square = prepared.shape.of(made[..., None]).reshape(truth.shape)
            figures.add(pair, NET, square, truth)
            for method, fit in fits.get(pair, ()):
                figures.add(pair, method, fit(prepared.square), truth)
            groups[pair].append(number)
    rows = []
    for pair, members in groups.items():
        chosen = None if images.groups is None else images.groups[members]
        rows += figures.rows_of(pair, groups=chosen) if members else []
    return rows


def baselines(config: Config, pairs: Sequence[Pair]) -> dict[Pair, list]:
    """Both baselines of each pair, by name; empty where none are asked for.

    Args:
      config: as of `rows_of_figures`.
      pairs: that are to be fitted.
    """
    count = config.channels.baseline_images
    if not count:
        return {}
    dataset = pipeline.open_sources(config.data)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    sums = []
    for number in tqdm(chosen.tolist(), desc="baselines", unit="image", disable=None):
        sums.append(channel_baselines.sums_of(dataset[number]["image"]))
    total = channel_baselines.total(sums)
    fits = {}
    for pair in pairs:
        ridge = channel_baselines.fit_ridge(total, pair.target, pair.sources)
        raw = channel_baselines.best_raw_channel(total, pair.target, pair.sources)
        fits[pair] = [(RIDGE, ridge), (RAW, raw)]
    return fits
