"""The sections about labels: how many images, what they look like, which occur together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hpa_jax.data.catalog import SPLITS
from hpa_jax.images.false_color import MAX_GAIN
from hpa_jax.report.dataset.examples import ImageRef
from hpa_jax.report.dataset.load import DatasetSummary
from hpa_jax.report.html import Section, names_of, short_number
from hpa_jax.report.pictures import HEIGHT, SIDE, Preview
from hpa_jax.report.table_charts import decades, heat_map, log_bars, log_position

FEW_IMAGES = 10
"""Of fewer images than this a score of a label says next to nothing."""


def label_counts(datasets: Sequence[DatasetSummary]) -> np.ndarray:
    """Returns int64 [L, 3]: images by label and split, of all datasets."""
    counts = np.zeros((len(datasets[0].labels), len(SPLITS)), np.int64)
    for dataset in datasets:
        splits = dataset.split_indices()
        for i in range(len(SPLITS)):
            counts[:, i] += dataset.targets[splits == i].sum(axis=0, dtype=np.int64)
    return counts


def cooccurrence(datasets: Sequence[DatasetSummary]) -> np.ndarray:
    """Returns int64 [L, L]: images with both labels; on the diagonal, images with the label."""
    count = len(datasets[0].labels)
    both = np.zeros((count, count), np.int64)
    for dataset in datasets:
        # float32 holds counts up to 16 million exactly; its product is much faster than integers'.
        targets = dataset.targets.astype(np.float32)
        both += (targets.T @ targets).astype(np.int64)
    return both


def counts_section(datasets: Sequence[DatasetSummary]) -> Section:
    """A row for each label, the most frequent first: bars and numbers."""
    counts = label_counts(datasets)
    totals = counts.sum(axis=1)
    images = sum(map(len, datasets))
    # One dataset's own counts would repeat the totals.
    compared = datasets if len(datasets) > 1 else ()
    columns = [counts, *(dataset.label_counts() for dataset in compared)]
    numbers = np.column_stack(columns).tolist()
    # All rows share one axis.
    top = decades(int(counts.max(initial=1)))[-1]
    rows = []
    for label in np.argsort(-totals, kind="stable").tolist():
        total = int(totals[label])
        rows.append(
            {
                "id": label,
                "name": datasets[0].labels[label],
                "total": total,
                "bars": log_bars(counts[label].tolist(), top),
                "fraction": total / max(1, images),
                "counts": numbers[label],
            }
        )
    data = {
        "rows": rows,
        "splits": SPLITS,
        "datasets": names_of(compared),
        "axis": [(log_position(tick, top), short_number(tick)) for tick in decades(top)],
        "few": FEW_IMAGES,
    }
    return Section("labels", "Labels", "dataset/labels.html", data)


class ShownImage(NamedTuple):
    """An image with its caption.

    Attributes:
      uri: of the preview.
      description: Id, dataset, split and labels in one line.
      faults: of its channels.
      other_labels: besides the one that it is an example of.
    """

    uri: str
    description: str
    faults: Sequence[str] = ()
    other_labels: Sequence[str] = ()


def show_image(
    datasets: Sequence[DatasetSummary], ref: ImageRef, preview: Preview, label: int | None = None
) -> ShownImage:
    """Captions an image, as an example of `label` if that is given."""
    dataset = datasets[ref.dataset]
    labels = dataset.labels_of(ref.index)
    place = dataset.split_of(ref.index)
    if len(datasets) > 1:
        place = f"{dataset.name}, {place}"
    name = dataset.shown_id(ref.index)
    description = f"{name}, {place}: {', '.join(labels) or 'no label'}"
    if label is None:
        return ShownImage(preview.uri, description)
    others = [name for name in labels if name != dataset.labels[label]]
    return ShownImage(preview.uri, description, preview.faults(), others)


def examples_section(
    datasets: Sequence[DatasetSummary],
    examples: Sequence[Sequence[ImageRef]],
    previews: Mapping[ImageRef, Preview],
) -> Section:
    """A strip of images for each label."""
    totals = label_counts(datasets).sum(axis=1)
    names = datasets[0].labels
    strips = []
    absent = []
    for label, refs in enumerate(examples):
        if not refs:
            absent.append(names[label])
            continue
        images = [show_image(datasets, ref, previews[ref], label) for ref in refs]
        strips.append((label, names[label], int(totals[label]), images))
    data = {
        "strips": strips,
        "absent": absent,
        "max_gain": f"{MAX_GAIN:.0f}",
        "width": SIDE,
        "height": HEIGHT,
    }
    return Section("examples", "What the labels look like", "dataset/examples.html", data)


def cooccurrence_section(datasets: Sequence[DatasetSummary]) -> Section:
    """The heat map."""
    labels_per_image = np.concatenate([dataset.targets.sum(axis=1) for dataset in datasets])
    found, images = np.unique(labels_per_image, return_counts=True)
    data = {
        "names": datasets[0].labels,
        "rows": heat_map(cooccurrence(datasets)),
        "images_by_labels": list(zip(found.tolist(), images.tolist(), strict=True)),
    }
    title = "Labels that occur together"
    return Section("cooccurrence", title, "dataset/cooccurrence.html", data)
