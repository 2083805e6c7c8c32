"""The sections of a page that tell of the build: rejects, parts and folds, sizes, settings."""

import json
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from hpa_jax.data.catalog import SPLITS
from hpa_jax.labels import LABELS
from hpa_jax.report.dataset.load import Facts, Reject
from hpa_jax.report.html import number, percent, plural, table, text, without

_REASONS = 12  # shown of the reasons for rejects
_LINES = 10  # shown of the rejects themselves
_SIZES = 20  # shown of the sizes


def reject_section(facts: Sequence[Facts]) -> str:
    """Why rows of the sources are not in the dataset."""
    missing = "".join(without(d.name, "a list of rejects") for d in facts if d.rejects is None)
    parts = []
    for dataset in facts:
        rejects = dataset.rejects
        if rejects is None:
            continue
        name = text(dataset.name)
        rows = len(dataset) + len(rejects)
        parts.append(
            f"<p><b>{name}: {plural(rows, 'row')} in, {number(len(dataset))} written, "
            f"{number(len(rejects))} rejected.</b></p>\n"
        )
        if rejects:
            reasons = by_reason(rejects)
            counted = [[text(reason), number(n)] for reason, n in reasons[:_REASONS]]
            rest = sum(n for _, n in reasons[_REASONS:])
            counted += (
                [[f"{plural(len(reasons) - _REASONS, 'other reason')}", number(rest)]]
                if rest
                else []
            )
            some = [
                [f"<bdi>{text(r.id)}</bdi>", f"<bdi>{text(r.file)}</bdi>", text(r.reason)]
                for r in rejects[:_LINES]
            ]
            parts.append(table(["Reason", "Rows"], counted, caption=f"Rejects of {name} by reason"))
            parts.append(
                table(
                    ["Id", "File", "Reason"],
                    some,
                    caption=f"The first {len(some)} of {number(len(rejects))}",
                    kind="words",
                )
            )
    return (
        "<p>Rows of the source that could not become fields (a build with --policy=skip leaves them out; rejects.csv "
        "beside the dataset has all). Look whether one reason explains most of them: that is one thing to put right."
        "</p>\n" + missing + "".join(parts)
    )


def by_reason(rejects: Sequence[Reject]) -> list[tuple[str, int]]:
    """Reasons with their counts, the most frequent first; numbers in them are left out, so that like finds like."""
    counts = Counter(re.sub(r"\d+", "N", reject.reason) for reject in rejects)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def parts_section(facts: Sequence[Facts]) -> str:
    """Parts, folds, labels by fold, sizes."""
    rows, sizes = [], []
    for dataset in facts:
        parts = dataset.parts()
        places = [(part, parts == p) for p, part in enumerate(SPLITS)]
        places += [
            (f"fold {f}", dataset.folds == f) for f in np.unique(dataset.folds[dataset.folds >= 0])
        ]
        for place, members in places:
            bare = int((~dataset.targets[members].any(axis=0)).sum())
            groups = len(np.unique(dataset.groups[members]))
            share = percent(members.sum() / max(1, len(dataset)))
            rows.append(
                [
                    f"{place}",
                    text(dataset.name),
                    number(members.sum()),
                    share,
                    number(groups),
                    number(bare),
                ]
            )
        for (height, width), n in zip(
            *np.unique(dataset.sizes, axis=0, return_counts=True), strict=True
        ):
            sizes.append(
                [f"{width} x {height}", text(dataset.name), number(n), percent(n / len(dataset))]
            )
    head = ["Part", "Dataset", "Fields", "Share", "Groups", "Labels without a field"]
    return (
        "<p>Fold 0 is the validation part and the other folds are the train part, unless config.data.fold names "
        "another fold; the test part is in no fold. Look at the last column, and whether every fold has its share "
        "of every label.</p>\n"
        + table(head, rows, caption="Parts and folds", words=2)
        + "".join(_folds_table(dataset) for dataset in facts)
        + table(
            ["Width x height, px", "Dataset", "Fields", "Share"],
            sizes[:_SIZES],
            caption=_size_caption(sizes),
            words=2,
        )
    )


def _size_caption(sizes: list) -> str:
    return "Sizes of fields" + (
        f", the first {_SIZES} of {len(sizes)}" if len(sizes) > _SIZES else ""
    )


def _folds_table(dataset: Facts) -> str:
    folds = np.unique(dataset.folds).tolist()
    folds = [f for f in folds if f >= 0] + [f for f in folds if f < 0]
    counts = np.stack(
        [dataset.targets[dataset.folds == f].sum(axis=0, dtype=np.int64) for f in folds], axis=1
    )
    rows = [
        [
            f'<span class="id">{i}</span> {text(LABELS[i])}',
            *(number(n) if n else "<em>0</em>" for n in row),
        ]
        for i, row in enumerate(counts)
        if row.any()
    ]
    head = ["Label", *(f"fold {f}" if f >= 0 else "test" for f in folds)]
    return table(head, rows, caption=f"Fields of {text(dataset.name)} by label and fold")


def settings_section(facts: Sequence[Facts]) -> str:
    """What the build was asked for, as its metadata.json has it."""
    out = "<p>With the same settings and the same source a build gives the same bytes.</p>\n"
    for dataset in facts:
        rows = [
            [text(key), text(value if isinstance(value, str) else json.dumps(value))]
            for key, value in dataset.build.items()
        ]
        out += table(
            ["Setting", "Value"],
            rows,
            caption=f"hpa/{text(dataset.name)} {text(dataset.version)}",
            kind="words",
        )
    return out
