"""The head of a page: the figures at a glance, and what a person should look at before training."""

from collections.abc import Sequence

import numpy as np

from hpa_jax.data.catalog import SPLITS
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.report.dataset.examples import Spot, Twins, labels_differ, leaks, straddling
from hpa_jax.report.dataset.images import moments
from hpa_jax.report.dataset.labels import FEW, label_counts, together
from hpa_jax.report.dataset.load import Facts
from hpa_jax.report.html import number, percent, plural, text
from hpa_jax.report.pictures import SATURATED_SHARE, Look


def overview_section(
    facts: Sequence[Facts], pairs: Sequence[Twins], looks: dict[Spot, Look]
) -> str:
    """Cards with figures, then findings."""
    n = sum(map(len, facts))
    counts = label_counts(facts)
    parts = [
        sum(int((dataset.parts() == p).sum()) for dataset in facts) for p in range(len(SPLITS))
    ]
    sizes = np.unique(np.concatenate([dataset.sizes for dataset in facts]), axis=0)
    shown = f"{sizes[0][1]} x {sizes[0][0]}" if len(sizes) == 1 else f"{len(sizes)} sizes"
    rejected = sum(len(dataset.rejects or ()) for dataset in facts)
    cards = [
        (
            "Fields",
            number(n),
            " · ".join(f"{part} {number(c)}" for part, c in zip(SPLITS, parts, strict=True)),
        ),
        (
            "Labels",
            f"{(counts.sum(axis=1) > 0).sum()} of {len(LABELS)}",
            f"{counts.sum() / max(1, n):.2f} a field",
        ),
        ("Size", shown, "pixels, four channels of 8 bits"),
        ("Near-duplicates", number(len(pairs)), "pairs found in the build"),
        ("Rejected", number(rejected), "rows of the source"),
    ]
    found = findings(facts, pairs, looks)
    items = "".join(f'<li>{said} <a href="#{section}">see</a></li>\n' for said, section in found)
    return (
        '<dl class="cards">'
        + "".join(f"<div><dt>{a}</dt><dd>{b}</dd><dd class=sub>{c}</dd></div>" for a, b, c in cards)
        + "</dl>\n"
        + (
            f'<h3>Worth a look</h3>\n<ul class="findings">{items}</ul>\n'
            if found
            else "<p>Nothing stands out.</p>\n"
        )
    )


def findings(
    facts: Sequence[Facts], pairs: Sequence[Twins], looks: dict[Spot, Look]
) -> list[tuple[str, str]]:
    """What stands out, in HTML, each with the section that shows it."""
    return [*_of_splits(facts, pairs), *_of_pictures(facts, looks), *_of_labels(facts)]


def _named(labels: np.ndarray) -> str:
    return ", ".join(text(LABELS[i]) for i in labels)


def _of_labels(facts: Sequence[Facts]) -> list[tuple[str, str]]:
    counts = label_counts(facts)
    totals = counts.sum(axis=1)
    out = []
    absent, rare = np.flatnonzero(totals == 0), np.flatnonzero((totals > 0) & (totals < FEW))
    if len(absent):
        out.append(
            (
                f"<b>{plural(len(absent), 'label')} without any field:</b> {_named(absent)}.",
                "labels",
            )
        )
    if len(rare):
        out.append(
            (
                f"<b>{plural(len(rare), 'label')} with fewer than {FEW} fields:</b> {_named(rare)}.",
                "labels",
            )
        )
    for p, part in enumerate(SPLITS):
        bare = np.flatnonzero((totals > 0) & (counts[:, p] == 0))
        if len(bare) and counts[:, p].any():
            out.append(
                (
                    f"<b>The {part} part lacks {plural(len(bare), 'label')}:</b> {_named(bare)}.",
                    "labels",
                )
            )
    both = together(facts)
    np.fill_diagonal(both, 0)
    bound = [i for i in np.flatnonzero(totals >= FEW) if both[i].max() >= 0.9 * totals[i]]
    if bound:
        said = "; ".join(f"{_named([i])} with {_named([int(both[i].argmax())])}" for i in bound)
        out.append((f"<b>Labels that nine times in ten come with another:</b> {said}.", "together"))
    unlabelled = sum(int((~dataset.targets.any(axis=1)).sum()) for dataset in facts)
    if unlabelled:
        out.append((f"<b>{plural(unlabelled, 'field')} without a label.</b>", "together"))
    return out


def _of_splits(facts: Sequence[Facts], pairs: Sequence[Twins]) -> list[tuple[str, str]]:
    out = []
    cut = sum(map(straddling, facts))
    if cut:
        out.append(
            (
                f"<b>{plural(cut, 'group')} straddle folds:</b> scores of this dataset cannot be trusted.",
                "twins",
            )
        )
    apart = sum(leaks(facts, pair) for pair in pairs)
    if apart:
        said = plural(apart, "pair of near-duplicates stands", "pairs of near-duplicates stand")
        out.append((f"<b>{said} in different folds.</b>", "twins"))
    differing = sum(labels_differ(facts, pair) for pair in pairs)
    if differing:
        said = plural(differing, "pair of near-duplicates has", "pairs of near-duplicates have")
        out.append((f"<b>{said} differing labels.</b>", "twins"))
    for dataset in facts:
        if dataset.rejects:
            rows = len(dataset) + len(dataset.rejects)
            share = percent(len(dataset.rejects) / rows)
            out.append(
                (f"<b>{share} of the rows of {text(dataset.name)} were rejected.</b>", "rejects")
            )
    if len(np.unique(np.concatenate([dataset.sizes for dataset in facts]), axis=0)) > 1:
        out.append(
            ("<b>Fields of several sizes:</b> batches need config.data.image_size.", "parts")
        )
    return out


def _of_pictures(facts: Sequence[Facts], looks: dict[Spot, Look]) -> list[tuple[str, str]]:
    out = []
    for dataset in facts:
        if dataset.histogram is None:
            continue
        for channel, histogram in zip(CHANNELS, dataset.histogram, strict=True):
            *_, full, empty = moments(histogram)
            if empty:
                out.append(
                    (f"<b>{text(dataset.name)}: the {channel} channel is empty.</b>", "intensities")
                )
            elif full > SATURATED_SHARE:
                said = f"{percent(full)} of its pixels are at 255."
                out.append(
                    (
                        f"<b>{text(dataset.name)}: the {channel} channel is saturated:</b> {said}",
                        "intensities",
                    )
                )
    for what in ("empty", "saturated"):
        bad = sum(bool(getattr(look, what)) for look in looks.values())
        if bad:
            of = f"of the {number(len(looks))} fields shown here"
            out.append((f"<b>{number(bad)} {of} have a channel that is {what}.</b>", "mosaic"))
    return out
