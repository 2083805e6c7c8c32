"""The seed study's table with our rows and intervals beside the published figures, and people as the yardstick."""

from collections.abc import Sequence

from hpa_jax.report.html import number, percent, table, text
from hpa_jax.report.run.load import Run
from hpa_jax.report.run.overview import figure
from hpa_jax.report.run.published import CHALLENGE, HUMAN, STUDY, row_of
from hpa_jax.report.svg import share_axis, yardstick
from hpa_jax.report.tables import Table

_OURS = ("macro_f1", "macro_f1_crossfit", "micro_f1", "samples_f1", "accuracy")
_HEAD = (
    "Macro F1 at 0.5",
    "Macro F1, cross-fitted",
    "Micro F1 at 0.5",
    "Samples F1 at 0.5",
    "Element-wise accuracy",
)


def published_section(runs: Sequence[Run]) -> str:
    """Two tables: the study's rows with ours, and what the same nets reached in the challenge."""
    rows = []
    for row in STUDY:
        ours = [run for run in runs if row_of(run.config) == row.recipe]
        rows += _rows(text(row.name), f"configs/{row.recipe}.py", row.macro_f1, ours)
    for run in runs:
        if row_of(run.config) is None:
            rows += _rows(text(run.config.model.name), "no row of the study", None, [run])
    rows.append(["People", _bar(None, []), f"{HUMAN:.2f}", *[""] * len(_HEAD)])
    level = percent(runs[0].config.evaluate.level)
    return (
        "<p><b>As published, definition doubtful.</b> The study (project page of manthan2305/HPA-Image-Classification) "
        "names its figure macro F1, on a split of its own; its public notebook computes an F1 averaged over fields "
        "that compares the targets with themselves. So for ours every kind of figure is printed. A difference of less "
        "than 0.04 says nothing: so far does the macro F1 of one and the same classifier move with the choice of a "
        f"fifth of the fields for validation. Small figures are our {level} intervals. People's {HUMAN:.2f} is as the "
        "study quotes it; its first source is not known.</p>\n"
        '<p class="legend"><span class="key tick">published</span><span class="key p0">ours, macro F1 at 0.5 and its '
        'interval</span><span class="key dashes">people</span></p>\n'
        + table(
            ["Row", share_axis(), "Published", *_HEAD],
            rows,
            caption="The seed study's table, and our rows",
            kind="study",
        )
        + table(
            ["System", '<span class="still">Macro F1</span>', "Source"],
            [
                [text(name), f'<span class="still">{value:.3f}</span>', text(source)]
                for name, value, source in CHALLENGE
            ],
            caption="What was reached on the challenge's own hidden fields, which no figure above was taken on",
            kind="words",
        )
    )


def _rows(name: str, what: str, published: float | None, runs: Sequence[Run]) -> list[list[str]]:
    """A row of the table for each run of it, or one that says that there is none."""
    theirs = "" if published is None else f"{published:.3f}"
    if not runs:
        return [
            [
                f"{name} <small>{what}, not run</small>",
                _bar(published, []),
                theirs,
                *["–"] * len(_HEAD),
            ]
        ]
    out = []
    for run in runs:
        cells = [figure(run.figures.get(key), run.interval(key)) for key in _OURS]
        where = f"{text(run.name)}: {number(run.figures['fields'])} of {text(run.table.split)} of "
        where += text(", ".join(run.table.source_names))
        out.append(
            [f"{name} <small>{what}<br>{where}</small>", _bar(published, [run]), theirs, *cells]
        )
    return out


def _bar(published: float | None, runs: Sequence[Run]) -> str:
    return yardstick(
        published, [(run.figures["macro_f1"], run.interval("macro_f1")) for run in runs], HUMAN
    )


def published_table(runs: Sequence[Run]) -> Table:
    """The same rows."""
    columns = ["row", "recipe", "published_macro_f1", "run", "dataset", "split", "fields"]
    columns += [f"{key}{end}" for key in _OURS for end in ("", "_low", "_high")]
    rows = []
    listed = [(row.name, row.recipe, row.macro_f1) for row in STUDY] + [("other", None, None)]
    for name, recipe, published in listed:
        ours = [run for run in runs if row_of(run.config) == recipe]
        for run in ours:
            cells = []
            for key in _OURS:
                cells += [run.figures.get(key), *(run.interval(key) or (None, None))]
            place = [run.name, run.config.data.name, run.table.split, run.figures["fields"]]
            rows.append([name, recipe, published, *place, *cells])
        if not ours and recipe:
            rows.append([name, recipe, published, *[None] * (len(columns) - 3)])
    rows.append(["people", None, HUMAN, *[None] * (len(columns) - 3)])
    return Table("published", columns, rows)
