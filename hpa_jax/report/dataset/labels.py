"""The sections of a page that tell of labels: how many, what they look like, which come together."""

from collections.abc import Sequence

import numpy as np

from hpa_jax.data.catalog import SPLITS
from hpa_jax.labels import LABELS
from hpa_jax.report.charts import decades, heat_table, log_axis, log_bars
from hpa_jax.report.dataset.examples import Spot
from hpa_jax.report.dataset.load import Facts
from hpa_jax.report.html import number, percent, plural, table, text
from hpa_jax.report.pictures import HEIGHT, MAX_GAIN, SIDE, Look

FEW = 10
"""Fewer fields than this: a score of the label says next to nothing."""


def label_counts(facts: Sequence[Facts]) -> np.ndarray:
    """int [28, 3]: fields by label and part, of all datasets."""
    counts = np.zeros((len(LABELS), len(SPLITS)), np.int64)
    for dataset in facts:
        parts = dataset.parts()
        counts += np.stack(
            [dataset.targets[parts == p].sum(axis=0, dtype=np.int64) for p in range(len(SPLITS))],
            axis=1,
        )
    return counts


def counts_section(facts: Sequence[Facts]) -> str:
    """A row a label, the most frequent first: bars and numbers."""
    counts = label_counts(facts)
    totals = counts.sum(axis=1)
    n = sum(map(len, facts))
    top = decades(int(counts.max(initial=1)))[-1]
    by_source = len(facts) > 1
    per_source = np.stack(
        [dataset.targets.sum(axis=0, dtype=np.int64) for dataset in facts], axis=1
    )
    keys = [f'<span class="key p{i}">{part}</span>' for i, part in enumerate(SPLITS)]
    head = ["Label", "Fields", log_axis(top), "Share", *keys]
    head += [f"of {text(dataset.name)}" for dataset in facts] if by_source else []
    rows = []
    for label in np.argsort(-totals, kind="stable").tolist():
        total = int(totals[label])
        few = (
            ' <em class="few">none</em>'
            if not total
            else ' <em class="few">few</em>'
            if total < FEW
            else ""
        )
        cells = [
            f'<span class="id">{label}</span> {text(LABELS[label])}{few}',
            f"<b>{number(total)}</b>",
            log_bars(counts[label].tolist(), top),
            percent(total / max(1, n)),
            *map(number, counts[label]),
        ]
        rows.append(cells + ([number(c) for c in per_source[label]] if by_source else []))
    return (
        "<p>Fields by label, a bar for each part on a logarithmic scale: every step of the axis is ten times as many. "
        f"Look for labels with fewer than {FEW} fields, and for parts in which a label has none: its score there is 0 "
        "or undefined, and an average over labels moves with it.</p>\n"
        + table(head, rows, caption="Fields by label and part", kind="counts")
    )


def mosaic_section(
    facts: Sequence[Facts], mosaic: Sequence[Sequence[Spot]], looks: dict[Spot, Look]
) -> str:
    """A strip of fields for each label."""
    totals = label_counts(facts).sum(axis=1)
    strips, absent = "", []
    for label, spots in enumerate(mosaic):
        if not spots:
            absent.append(LABELS[label])
            continue
        shown = (
            f"{len(spots)} of {number(totals[label])}"
            if len(spots) < totals[label]
            else f"{plural(len(spots), 'field')}"
        )
        tiles = "".join(_tile(facts, spot, looks[spot], label) for spot in spots)
        strips += (
            f'<div class="strip"><h3><span class="id">{label}</span> {text(LABELS[label])} <small>{shown}</small></h3>'
            f'<div class="tiles">{tiles}</div></div>\n'
        )
    return (
        "<p>Each picture is one whole field. Above, false colours: microtubules red, protein green, nucleus blue, "
        "endoplasmic reticulum yellow at half strength. Below, the protein alone in gray. Every channel is brightened "
        f"so that its brightest spots are white, at most {MAX_GAIN:.0f} times. Underneath, the field's other labels; "
        "the Id shows when the pointer rests on a picture. Look for labels that the eye cannot see, fields out of "
        "focus, and channels that are empty or in each other's place.</p>\n"
        f'<div class="strips">{strips}</div>\n'
        + (f"<p>Without any field: {text(', '.join(absent))}.</p>\n" if absent else "")
    )


def describe(facts: Sequence[Facts], spot: Spot) -> str:
    """Id, dataset, part and labels of a field, escaped, in one line."""
    dataset = facts[spot.source]
    labels = (
        ", ".join(LABELS[i] for i in np.flatnonzero(dataset.targets[spot.position])) or "no label"
    )
    of = f", {dataset.name}" if len(facts) > 1 else ""
    return text(
        f"{dataset.ids[spot.position]}{of}, {SPLITS[dataset.part(spot.position)]}: {labels}"
    )


def picture(facts: Sequence[Facts], spot: Spot, look: Look) -> str:
    """The two panels of a field."""
    about = describe(facts, spot)
    return f'<img src="{look.uri}" width="{SIDE}" height="{HEIGHT}" alt="Field {about}" title="{about}">'


def _tile(facts: Sequence[Facts], spot: Spot, look: Look, label: int) -> str:
    targets = facts[spot.source].targets[spot.position]
    others = [LABELS[i] for i in np.flatnonzero(targets) if i != label]
    faults = [f"{name} empty" for name in look.empty] + [
        f"{name} saturated" for name in look.saturated
    ]
    caption = "".join(f'<span class="fault">{text(fault)}</span>' for fault in faults)
    caption += "".join(f"<span>+ {text(other)}</span>" for other in others)
    return f"<figure>{picture(facts, spot, look)}<figcaption>{caption}</figcaption></figure>"


def together(facts: Sequence[Facts]) -> np.ndarray:
    """int [28, 28]: how many fields bear both labels; on the diagonal, how many bear the label at all."""
    # float32 holds counts up to 16 million exactly, and its product is many times as fast as one of integers.
    return sum(
        (t.T @ t).astype(np.int64)
        for t in (dataset.targets.astype(np.float32) for dataset in facts)
    )


def together_section(facts: Sequence[Facts]) -> str:
    """The heat map."""
    each = np.bincount(
        np.concatenate([dataset.targets.sum(axis=1, dtype=np.int64) for dataset in facts])
    )
    mixed = ", ".join(
        f"{labels} in {plural(count, 'field')}" for labels, count in enumerate(each) if count
    )
    return (
        "<p>The number is how many fields bear both labels; the shade is their share of the fields with the row's "
        "label, so a strong shade says that the row's label seldom comes without the column's. The diagonal is the "
        "label's own count. Look for labels that never stand alone: a net can learn the company in place of the "
        "structure. "
        f"How many labels a field bears: {mixed}.</p>\n" + heat_table(together(facts), LABELS)
    )
