"""How well channels are filled in: Pearson, PSNR and SSIM of several methods on the same images.

Every method's figures are means over images, with bootstrap intervals over groups of images, and
stand beside those of the two baselines (`hpa_jax.metrics.channel_baselines`). What a method adds to
the ridge regression is a mean of differences image by image, whose interval is that of a paired
comparison.
"""

from collections.abc import Sequence

import numpy as np

from hpa_jax.metrics import bootstrap
from hpa_jax.metrics.image_similarity import SIMILARITIES, similarities
from hpa_jax.transforms.channel_subsets import Pair

NET = "net"
RIDGE = "ridge on blurred channels"
RAW = "best raw channel"

COLUMNS = (
    "channel",
    "method",
    "Pearson",
    "median",
    "p10",
    "PSNR, dB",
    "SSIM",
    "Pearson over ridge",
)


class ChannelFigures:
    """Collects methods' values, image by image."""

    def __init__(self):
        # By pair, then method: the values of each image, by the name of the similarity.
        self._values: dict[Pair, dict[str, list[dict[str, float]]]] = {}

    def add(self, pair: Pair, method: str, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Compares one image.

        Args:
          pair: what was predicted from what.
          method: how. Every method of a pair is asked for the same images in the same order.
          predicted: uint8 or float [H, W], 0 to 255.
          truth: likewise.
        """
        found = similarities(predicted[..., None], truth[..., None])
        values = {name: float(value[0]) for name, value in found.items()}
        self._values.setdefault(pair, {}).setdefault(method, []).append(values)

    def rows(self, groups: Sequence[int] | np.ndarray | None = None, **draws) -> list[dict]:
        """A row a pair and method.

        Args:
          groups: int [N] of the images, drawn as one; None: each is its own group.
          draws: keyword arguments of `bootstrap.mean_interval`.

        Returns:
          JSON values: `target`, `sources`, `method`, `images`; of each similarity its mean under
          its name and `NAME_interval`; `pearson_median`, `pearson_p10`; and, but for the ridge
          itself, `pearson_over_ridge` with its interval. None where something is undefined.
        """
        rows = []
        for pair in self._values:
            rows += self.rows_of(pair, groups, **draws)
        return rows

    def rows_of(
        self, pair: Pair, groups: Sequence[int] | np.ndarray | None = None, **draws
    ) -> list[dict]:
        """The rows of one pair, as of `rows`; `groups` are those of its images."""
        by_method = self._values[pair]
        of_ridge = by_method.get(RIDGE)
        rows = []
        for method, images in by_method.items():
            row = {
                "target": pair.target,
                "sources": list(pair.sources),
                "method": method,
                "images": len(images),
            }
            for name in SIMILARITIES:
                row |= _mean_entries(name, _column(images, name), groups, draws)
            pearson = _column(images, "pearson")
            row["pearson_median"] = _quantile(pearson, 0.5)
            row["pearson_p10"] = _quantile(pearson, 0.1)
            if of_ridge is not None and method != RIDGE:
                over = pearson - _column(of_ridge, "pearson")
                row |= _mean_entries("pearson_over_ridge", over, groups, draws)
            rows.append(row)
        return rows


def markdown(rows: Sequence[dict]) -> str:
    """Rows of `ChannelFigures.rows` as a table."""
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for row in rows:
        cells = (
            str(Pair(row["target"], tuple(row["sources"]))),
            row["method"],
            _with_interval(row, "pearson", 3),
            _shown(row["pearson_median"], 3),
            _shown(row["pearson_p10"], 3),
            _with_interval(row, "psnr", 1),
            _with_interval(row, "ssim", 3),
            _with_interval(row, "pearson_over_ridge", 3, sign="+"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _column(images: Sequence[dict[str, float]], name: str) -> np.ndarray:
    return np.array([values[name] for values in images])


def _mean_entries(name: str, values: np.ndarray, groups, draws: dict) -> dict:
    # Equal images have an infinite PSNR, and with them a mean that says nothing.
    finite = np.where(np.isfinite(values), values, np.nan)
    mean, interval = bootstrap.mean_interval(finite, groups, **draws)
    return {
        name: bootstrap.json_value(mean),
        f"{name}_interval": bootstrap.json_value(interval),
    }


def _quantile(values: np.ndarray, quantile: float) -> float | None:
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    return float(np.quantile(defined, quantile))


def _with_interval(row: dict, name: str, digits: int, sign: str = "") -> str:
    value = row.get(name)
    if value is None:
        return ""
    low, high = row[f"{name}_interval"]
    return f"{value:{sign}.{digits}f} ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
