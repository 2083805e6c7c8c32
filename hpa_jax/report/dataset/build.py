"""The sections about the build: rejects, splits and folds, sizes, settings."""

import json
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hpa_jax.data.catalog import UNLABELLED
from hpa_jax.report.dataset.load import DatasetSummary, Reject, shown_splits
from hpa_jax.report.html import Section

_MAX_REASONS = 12
_MAX_REJECTS = 10
_MAX_SIZES = 20


def reject_section(datasets: Sequence[DatasetSummary]) -> Section:
    """Why rows of the sources are not in the dataset."""
    builds = []
    missing = []
    for dataset in datasets:
        if dataset.rejects is None:
            missing.append(dataset.name)
            continue
        reasons = count_reasons(dataset.rejects)
        builds.append(
            {
                "name": dataset.name,
                "written": len(dataset),
                "rejected": len(dataset.rejects),
                "reasons": reasons[:_MAX_REASONS],
                "other_reasons": len(reasons[_MAX_REASONS:]),
                "other_rows": sum(count for _, count in reasons[_MAX_REASONS:]),
                "first": dataset.rejects[:_MAX_REJECTS],
            }
        )
    data = {"builds": builds, "missing": missing}
    return Section("rejects", "Rejects", "dataset/rejects.html", data)


def count_reasons(rejects: Sequence[Reject]) -> list[tuple[str, int]]:
    """Counts the reasons, the most frequent first; they may differ in the numbers in them."""
    counts = Counter(re.sub(r"\d+", "N", reject.reason) for reject in rejects)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def split_section(datasets: Sequence[DatasetSummary]) -> Section:
    """Splits, folds, labels by fold, sizes."""
    places = []
    sizes = []
    for dataset in datasets:
        places += _places(dataset)
        found, counts = np.unique(dataset.sizes, axis=0, return_counts=True)
        for (height, width), count in zip(found.tolist(), counts.tolist(), strict=True):
            sizes.append((f"{width} x {height}", dataset.name, count, count / len(dataset)))
    data = {
        "places": places,
        "folds": [_label_counts_by_fold(dataset) for dataset in datasets],
        "sizes": sizes[:_MAX_SIZES],
        "all_sizes": len(sizes),
    }
    return Section("splits", "Splits, folds, sizes", "dataset/splits.html", data)


def _places(dataset: DatasetSummary) -> list[dict]:
    """A row for each split and each fold."""
    members = {}
    splits = dataset.split_indices()
    for i, split in enumerate(shown_splits([dataset])):
        members[split] = splits == i
    for fold in np.unique(dataset.folds[dataset.folds >= 0]).tolist():
        members[f"fold {fold}"] = dataset.folds == fold
    rows = []
    for place, inside in members.items():
        rows.append(
            {
                "place": place,
                "dataset": dataset.name,
                "images": inside.sum(),
                "fraction": inside.sum() / max(1, len(dataset)),
                "groups": len(np.unique(dataset.groups[inside])),
                "absent_labels": (~dataset.targets[inside].any(axis=0)).sum(),
            }
        )
    return rows


def _label_counts_by_fold(dataset: DatasetSummary) -> dict:
    folds = np.unique(dataset.folds).tolist()
    # Those of fold -1 come last.
    without_fold = UNLABELLED if dataset.unknown() == len(dataset) else "test"
    folds.sort(key=lambda fold: (fold < 0, fold))
    names = []
    columns = []
    for fold in folds:
        names.append(f"fold {fold}" if fold >= 0 else without_fold)
        columns.append(dataset.targets[dataset.folds == fold].sum(axis=0, dtype=np.int64))
    rows = []
    for label, counts in enumerate(np.stack(columns, axis=1).tolist()):
        if any(counts):
            rows.append((label, dataset.labels[label], counts))
    return {"dataset": dataset.name, "names": names, "rows": rows}


def settings_section(datasets: Sequence[DatasetSummary]) -> Section:
    """The settings of the builds, from their metadata.json."""
    builds = []
    for dataset in datasets:
        rows = []
        for key, value in dataset.build.items():
            rows.append((key, value if isinstance(value, str) else json.dumps(value)))
        builds.append((f"hpa/{dataset.name} {dataset.version}", rows))
    return Section("settings", "How it was built", "dataset/settings.html", {"builds": builds})
