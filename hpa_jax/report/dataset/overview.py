"""The head of a dataset's page: numbers at a glance, and what to look at before training."""

from collections.abc import Mapping, Sequence

import numpy as np

from hpa_jax.data.catalog import SPLITS
from hpa_jax.labels import CHANNELS
from hpa_jax.report.dataset.examples import DuplicatePair, ImageRef, groups_across_folds
from hpa_jax.report.dataset.images import intensities
from hpa_jax.report.dataset.labels import FEW_IMAGES, cooccurrence, label_counts
from hpa_jax.report.dataset.load import DatasetSummary, shown_splits
from hpa_jax.report.html import Card, Finding, Section, number, percent, plural
from hpa_jax.report.pictures import Preview

_ALWAYS_TOGETHER = 0.9
"""A label with another one in so many of its images is hard to learn for itself."""


def overview_section(
    datasets: Sequence[DatasetSummary],
    pairs: Sequence[DuplicatePair],
    previews: Mapping[ImageRef, Preview],
) -> Section:
    """Cards with numbers, then findings."""
    images = sum(map(len, datasets))
    counts = label_counts(datasets)
    occurring = (counts.sum(axis=1) > 0).sum()
    members = np.concatenate([dataset.split_indices() for dataset in datasets])
    splits = []
    for i, split in enumerate(shown_splits(datasets)):
        splits.append(f"{split} {number((members == i).sum())}")
    sizes = _sizes(datasets)
    size = f"{len(sizes)} sizes"
    if len(sizes) == 1:
        height, width = sizes[0]
        size = f"{width} x {height}"
    rejected = sum(len(dataset.rejects or ()) for dataset in datasets)
    labels_per_image = f"{counts.sum() / max(1, images):.2f} an image"
    cards = [
        Card("Images", number(images), " · ".join(splits)),
        Card("Labels", f"{occurring} of {len(counts)}", labels_per_image),
        Card("Size", size, "pixels, four channels of 8 bits"),
        Card("Near-duplicates", number(len(pairs)), "pairs found in the build"),
        Card("Rejected", number(rejected), "rows of the source"),
    ]
    data = {"cards": cards, "findings": findings(datasets, pairs, previews)}
    return Section("overview", "At a glance", "dataset/overview.html", data)


def findings(
    datasets: Sequence[DatasetSummary],
    pairs: Sequence[DuplicatePair],
    previews: Mapping[ImageRef, Preview],
) -> list[Finding]:
    """Lists what stands out."""
    return [
        *_split_findings(datasets, pairs),
        *_reject_findings(datasets),
        *_channel_findings(datasets, previews),
        *_label_findings(datasets),
    ]


def _sizes(datasets: Sequence[DatasetSummary]) -> np.ndarray:
    return np.unique(np.concatenate([dataset.sizes for dataset in datasets]), axis=0)


def _split_findings(
    datasets: Sequence[DatasetSummary], pairs: Sequence[DuplicatePair]
) -> list[Finding]:
    found = []
    groups = sum(map(groups_across_folds, datasets))
    if groups:
        headline = plural(groups, "group has", "groups have") + " images in several folds:"
        details = "scores on this dataset cannot be trusted."
        found.append(Finding("duplicates", headline, details=details))
    apart = sum(pair.folds_differ for pair in pairs)
    if apart:
        pairs_are = plural(apart, "pair of near-duplicates is", "pairs of near-duplicates are")
        found.append(Finding("duplicates", f"{pairs_are} in different folds."))
    differing = sum(pair.labels_differ for pair in pairs)
    if differing:
        pairs_have = plural(
            differing, "pair of near-duplicates has", "pairs of near-duplicates have"
        )
        found.append(Finding("duplicates", f"{pairs_have} differing labels."))
    return found


def _reject_findings(datasets: Sequence[DatasetSummary]) -> list[Finding]:
    found = []
    for dataset in datasets:
        if dataset.rejects:
            fraction = len(dataset.rejects) / (len(dataset) + len(dataset.rejects))
            headline = f"{percent(fraction)} of the rows of {dataset.name} were rejected."
            found.append(Finding("rejects", headline))
    if len(_sizes(datasets)) > 1:
        details = "batches need config.data.image_size."
        found.append(Finding("splits", "Images of several sizes:", details=details))
    return found


def _channel_findings(
    datasets: Sequence[DatasetSummary], previews: Mapping[ImageRef, Preview]
) -> list[Finding]:
    found = []
    for dataset in datasets:
        if dataset.histogram is None:
            continue
        for channel, histogram in zip(CHANNELS, dataset.histogram, strict=True):
            statistics = intensities(histogram)
            name = f"{dataset.name}: the {channel} channel"
            if statistics.empty:
                found.append(Finding("intensities", f"{name} is empty."))
            elif statistics.is_saturated:
                details = f"{percent(statistics.saturated)} of its pixels are at 255."
                found.append(Finding("intensities", f"{name} is saturated:", details=details))
    shown = f"of the {number(len(previews))} images shown here have a channel that is"
    empty = sum(bool(preview.empty) for preview in previews.values())
    if empty:
        found.append(Finding("examples", f"{number(empty)} {shown} empty."))
    saturated = sum(bool(preview.saturated) for preview in previews.values())
    if saturated:
        found.append(Finding("examples", f"{number(saturated)} {shown} saturated."))
    return found


def _label_findings(datasets: Sequence[DatasetSummary]) -> list[Finding]:
    counts = label_counts(datasets)
    totals = counts.sum(axis=1)
    found = []

    def names_of(chosen: np.ndarray) -> list[str]:
        return [datasets[0].labels[label] for label in np.flatnonzero(chosen)]

    absent = totals == 0
    if absent.any():
        headline = f"{plural(absent.sum(), 'label')} without any image:"
        found.append(Finding("labels", headline, names_of(absent)))
    rare = (totals > 0) & (totals < FEW_IMAGES)
    if rare.any():
        headline = f"{plural(rare.sum(), 'label')} with fewer than {FEW_IMAGES} images:"
        found.append(Finding("labels", headline, names_of(rare)))
    for i, split in enumerate(SPLITS):
        lacking = (totals > 0) & (counts[:, i] == 0)
        # A split without any image lacks no label in particular.
        if lacking.any() and counts[:, i].any():
            headline = f"The {split} split lacks {plural(lacking.sum(), 'label')}:"
            found.append(Finding("labels", headline, names_of(lacking)))
    companions = _companions(datasets)
    if companions:
        headline = "Labels that nine times in ten occur with another:"
        found.append(Finding("cooccurrence", headline, companions))
    unknown = sum(dataset.unknown() for dataset in datasets)
    if unknown:
        headline = f"{plural(unknown, 'image')} of which nobody knows the labels:"
        details = "--mode=predict scores them; training and evaluating refuse them."
        found.append(Finding("labels", headline, details=details))
    without = sum((~dataset.targets.any(axis=1)).sum() for dataset in datasets)
    if without > unknown:
        negative = plural(without - unknown, "image")
        found.append(Finding("cooccurrence", f"{negative} without a label."))
    return found


def _companions(datasets: Sequence[DatasetSummary]) -> list[str]:
    names = datasets[0].labels
    both = cooccurrence(datasets)
    totals = both.diagonal().copy()
    # A label always occurs with itself.
    np.fill_diagonal(both, 0)
    found = []
    for label, row in enumerate(both):
        if totals[label] >= FEW_IMAGES and row.max() >= _ALWAYS_TOGETHER * totals[label]:
            found.append(f"{names[label]} with {names[int(row.argmax())]}")
    return found
