"""The sections of a page that show what the images are like: intensities by channel, and near-duplicates."""

from collections.abc import Sequence

import numpy as np

from hpa_jax.data.catalog import SPLITS
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.report.charts import histogram_lines
from hpa_jax.report.dataset.examples import Spot, Twins, labels_differ, straddling
from hpa_jax.report.dataset.labels import picture
from hpa_jax.report.dataset.load import Facts
from hpa_jax.report.html import number, percent, plural, table, text, without
from hpa_jax.report.pictures import DARK, SATURATED_SHARE, Look

STAINS = ("microtubules", "protein", "nucleus", "endoplasmic reticulum")


def moments(histogram: np.ndarray) -> tuple[float, float, float, float, bool]:
    """Of the pixel counts int [256]: mean and deviation and 99th percentile as shares of 255, share at 255, empty?"""
    values = np.arange(256) / 255
    share = histogram / histogram.sum()
    mean = float(share @ values)
    std = float(np.sqrt(share @ (values - mean) ** 2))
    bright = float(values[np.searchsorted(np.cumsum(share), 0.99)])
    return mean, std, bright, float(share[255]), not histogram[DARK + 1 :].any()


def intensity_section(facts: Sequence[Facts]) -> str:
    """Four charts, a line for each dataset, and the figures."""
    known = [dataset for dataset in facts if dataset.histogram is not None]
    missing = "".join(without(d.name, "intensity statistics") for d in facts if d.histogram is None)
    charts, rows = "", []
    for c, channel in enumerate(CHANNELS):
        if not known:
            break
        lines = [(dataset.name, dataset.histogram[c]) for dataset in known]
        said = []
        for name, counts in lines:
            mean, std, bright, full, empty = moments(counts)
            mark = (
                ' <em class="few">empty</em>'
                if empty
                else ' <em class="few">saturated</em>'
                if full > SATURATED_SHARE
                else ""
            )
            figures = [
                f"{mean:.4f}",
                f"{std:.4f}",
                f"{255 * bright:.0f}",
                percent(counts[0] / counts.sum()),
            ]
            said.append(f"{name}: mean {mean:.3f}, {percent(full)} of pixels at 255")
            rows.append([f"{channel}{mark}", text(name), *figures, percent(full)])
        title = f"Intensities of the {channel} channel. " + "; ".join(said)
        charts += (
            f'<figure class="chart"><figcaption><span class="dot {channel}"></span>{channel}: {STAINS[c]}</figcaption>'
            f"{histogram_lines(lines, title)}</figure>\n"
        )
    keys = "".join(
        f'<span class="key line s{i % 5}">{text(d.name)}</span>' for i, d in enumerate(known)
    )
    head = ["Channel", "Dataset", "Mean", "Deviation", "99th percentile", "At 0", "At 255"]
    return (
        "<p>Share of all pixels at each value from 0 to 255, on a logarithmic scale. A spike at 255 is a saturated "
        "channel, gaps between values come from stretched 8-bit images, and a line that ends early is a dim or empty "
        "channel. Where datasets lie apart, train with each one's own normalisation figures.</p>\n"
        + missing
        + (f'<p class="legend">{keys}</p>' if len(known) > 1 else "")
        + (f'<div class="charts">{charts}</div>' if known else "")
        + (
            table(
                head,
                rows,
                caption="Intensities by channel, all parts; mean and deviation as shares of 255",
                words=2,
            )
            if known
            else ""
        )
    )


def duplicate_section(
    facts: Sequence[Facts], pairs: Sequence[Twins], shown: int, looks: dict[Spot, Look]
) -> str:
    """The pairs side by side, and the groups."""
    missing = "".join(
        without(d.name, "a search for near-duplicates") for d in facts if d.pairs is None
    )
    figures = "".join(_pair(facts, pair, looks) for pair in pairs[:shown])
    differing = sum(labels_differ(facts, pair) for pair in pairs)
    said = (
        f"{plural(len(pairs), 'pair')}, {number(differing)} with differing labels"
        if pairs
        else "None found"
    )
    said += f"; the first {shown} are shown" if len(pairs) > shown else ""
    return (
        "<p>Fields that look the same, by perceptual hash, each match confirmed on the pixels. Pairs with differing "
        "labels come first: one of the two is labelled wrongly, or both are incomplete. Fields of one group "
        "(near-duplicates, one antibody) must never straddle parts or folds.</p>\n"
        + missing
        + (f"<p><b>{said}.</b></p>\n" if any(d.pairs is not None for d in facts) else "")
        + (f'<div class="pairs">{figures}</div>\n' if figures else "")
        + table(
            [
                "Dataset",
                "Fields",
                "Groups",
                "With one field",
                "With several",
                "Largest",
                "Straddling folds",
            ],
            [_group_row(dataset) for dataset in facts],
            caption="Groups",
        )
    )


def _group_row(dataset: Facts) -> list[str]:
    sizes = np.unique(dataset.groups, return_counts=True)[1]
    cut = straddling(dataset)
    return [
        text(dataset.name),
        *map(
            number,
            (len(dataset), len(sizes), (sizes == 1).sum(), (sizes > 1).sum(), sizes.max(initial=0)),
        ),
        f'<em class="few">{number(cut)}</em>' if cut else "0",
    ]


def _pair(facts: Sequence[Facts], pair: Twins, looks: dict[Spot, Look]) -> str:
    sides = "".join(
        f"<div>{picture(facts, spot, looks[spot]) if spot else '<p class=none>in another dataset</p>'}"
        f"<bdi>{text(field_id)}</bdi>{_labels(facts, spot)}</div>"
        for field_id, spot in ((pair.pair.a, pair.a), (pair.pair.b, pair.b))
    )
    differ = '<em class="few">labels differ</em>' if labels_differ(facts, pair) else "same labels"
    unknown = pair.a is None or pair.b is None
    bits = plural(pair.pair.distance, "bit")
    caption = f"{bits} apart" + ("" if unknown else f", {differ}")
    return f'<figure class="pair">{sides}<figcaption>{caption}</figcaption></figure>\n'


def _labels(facts: Sequence[Facts], spot: Spot | None) -> str:
    if spot is None:
        return ""
    dataset = facts[spot.source]
    names = [text(LABELS[i]) for i in np.flatnonzero(dataset.targets[spot.position])]
    return f"<small>{SPLITS[dataset.part(spot.position)]}: {', '.join(names) or 'no label'}</small>"
