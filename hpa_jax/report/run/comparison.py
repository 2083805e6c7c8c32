"""Is one run better than another, or is it chance? The same fields of both, matched by Id, and a paired test.

Unusual: thresholds of both runs are cross-fitted anew on the fields that they share, in the same folds, so that neither
has seen more than the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpa_jax.config import Config
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.labels import LABELS
from hpa_jax.metrics.bootstrap import paired_test
from hpa_jax.report.html import number, percent, plural, table, text
from hpa_jax.report.run.load import FIGURES, Run, decided
from hpa_jax.report.tables import Table


@dataclass(frozen=True)
class Difference:
    """What sets a run apart from another.

    Attributes:
      name: of the other run.
      fields: how many both have scored and label alike; without any, `figures` and `per_label` are empty.
      unlike: fields that both have scored, whose labels differ between their datasets: left out.
      label_ids: the labels that both have learnt.
      figures: by name a dict with `a` (the other's), `b` (ours), `difference` (ours less the other's), `interval`,
        `p_value`.
      per_label: by name a list of the same, one a label.
    """

    name: str
    fields: int
    unlike: int
    label_ids: tuple[int, ...]
    figures: dict[str, dict]
    per_label: dict[str, list[dict]]


def compare(run: Run, other: Run) -> Difference:
    """`run` against `other`, with the settings of `run.config.evaluate`."""
    label_ids = tuple(i for i in run.table.label_ids if i in other.table.label_ids)
    mine, theirs = shared_rows(run.table, other.table)
    mine, theirs = _cut(run, mine, label_ids), _cut(other, theirs, label_ids)
    alike = (
        (mine.targets == theirs.targets).all(axis=1) if label_ids else np.zeros(len(mine.ids), bool)
    )
    mine, theirs = (_rows(part, np.flatnonzero(alike)) for part in (mine, theirs))
    fields, unlike = int(alike.sum()), int((~alike).sum())
    if not fields or not label_ids:
        return Difference(other.name, 0, unlike, label_ids, {}, {})
    theirs = replace(theirs, groups=mine.groups)  # the same folds for both
    e = run.config.evaluate
    found = paired_test(
        theirs.scores,
        mine.scores,
        mine.targets,
        decisions_a=decided(run.config, theirs),
        decisions_b=decided(run.config, mine),
        groups=mine.groups,
        replicates=e.replicates
        or Config().evaluate.replicates,  # without any there would be no test
        level=e.level,
        seed=e.seed,
    )
    return Difference(other.name, fields, unlike, label_ids, found["figures"], found["per_label"])


def shared_rows(a: ScoreTable, b: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Rows int [K] of a and of b that are the same field, in the order of a.

    Ids tell; where one comes twice in a table, the dataset's name and the Id together.
    """
    keys = a.ids, b.ids
    if any(len(set(ids)) < len(ids) for ids in keys):
        keys = a.names(), b.names()
    at = {key: row for row, key in enumerate(keys[1])}
    pairs = [(row, at[key]) for row, key in enumerate(keys[0]) if key in at]
    return tuple(
        np.array(rows, np.int64) for rows in (zip(*pairs, strict=True) if pairs else ((), ()))
    )


def _cut(run: Run, rows: np.ndarray, label_ids: Sequence[int]) -> ScoreTable:
    part = _rows(run.table, rows)
    columns = [run.column(i) for i in label_ids]
    cut = {name: getattr(part, name)[..., columns] for name in ("scores", "targets", "thresholds")}
    return replace(part, **cut, label_ids=tuple(label_ids))


def _rows(part: ScoreTable, rows: np.ndarray) -> ScoreTable:
    cut = {
        name: getattr(part, name)[rows]
        for name in ("scores", "targets", "groups", "folds", "source")
    }
    return replace(part, ids=[part.ids[row] for row in rows], **cut)


def differences_section(run: Run, found: Sequence[Difference]) -> str:
    """A table for each of the others: figures over all labels, then the labels that differ most."""
    level = percent(run.config.evaluate.level)
    body = "".join(_against(run, one) for one in found)
    return (
        f"<p>Difference: {text(run.name)} less the other run, on the fields that both have scored, with its {level} "
        "interval (paired bootstrap: the same draws of groups for both). p: how often chance alone parts two equal "
        "runs as far, when all that they say of a group is swapped at random (paired permutation test). An interval "
        "that holds 0 says that the fields are too few to tell. All this is about these two trained nets: another "
        "training of either, with another seed, is a further chance that no test on fields can see. Of "
        f"calibration error the smaller is the better.</p>\n{body}"
    )


def _against(run: Run, one: Difference) -> str:
    title = f"<h3>{text(run.name)} and {text(one.name)}</h3>\n"
    unlike = (
        f" Left out: {plural(one.unlike, 'field')} that the two datasets label otherwise."
        if one.unlike
        else ""
    )
    if not one.fields:
        why = "no label" if not one.label_ids else "no field"
        return (
            title
            + f'<p class="none">They share {why} on this part: nothing can be compared.{unlike}</p>\n'
        )
    head = ["Figure", text(run.name), text(one.name), "Difference", "Interval", "p"]
    names = dict(FIGURES)
    rows = [[names[key], *_cells(one.figures[key])] for key in names if key in one.figures]
    labels = one.per_label.get("f1_crossfit", [])
    kept = [i for i, row in enumerate(labels) if row["difference"]]
    kept.sort(key=lambda i: (labels[i]["p_value"] if labels[i]["p_value"] is not None else 1.0, i))
    by_label = [[text(LABELS[one.label_ids[i]]), *_cells(labels[i])] for i in kept[:10]]
    return (
        title
        + f"<p>{plural(one.fields, 'field')}, {plural(len(one.label_ids), 'label')}.{unlike}</p>\n"
        + table(head, rows, caption="Over all labels")
        + (
            table(
                ["Label", *head[1:]],
                by_label,
                caption=f"F1 with cross-fitted thresholds: the {len(by_label)} labels that differ most surely. Of "
                f"{number(len(labels))} labels one in twenty has a p below 0.05 by chance alone",
            )
            if by_label
            else ""
        )
    )


def _cells(row: dict) -> list[str]:
    def said(value, sign=""):
        return "–" if value is None else f"{value:{sign}.3f}".replace("-", "\N{MINUS SIGN}")

    low, high = row["interval"] or (None, None)
    span = f"{said(low, '+')} to {said(high, '+')}"
    apart = low is not None and (low > 0 or high < 0)
    p = "–" if row["p_value"] is None else f"{row['p_value']:.3f}"
    difference = said(row["difference"], "+")
    return [
        said(row["b"]),
        said(row["a"]),
        f"<b>{difference}</b>" if apart else difference,
        span,
        p,
    ]


def differences_tables(run: Run, found: Sequence[Difference]) -> list[Table]:
    """Figures over all labels, and by label."""
    head = ("run", "other", "fields", "figure")
    tail = ("run_value", "other_value", "difference", "low", "high", "p_value")
    over_all, by_label = [], []
    for one in found:
        place = [run.name, one.name, one.fields]
        over_all += [[*place, key, *_values(row)] for key, row in one.figures.items()]
        by_label += [
            [*place, key, LABELS[one.label_ids[i]], *_values(row)]
            for key, rows in one.per_label.items()
            for i, row in enumerate(rows)
        ]
    return [
        Table("differences", (*head, *tail), over_all),
        Table("differences_per_label", (*head, "label", *tail), by_label),
    ]


def _values(row: dict) -> list:
    return [
        row["b"],
        row["a"],
        row["difference"],
        *(row["interval"] or (None, None)),
        row["p_value"],
    ]
