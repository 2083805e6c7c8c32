"""`--mode=report` for a run: what it learnt, how sure that is, and what it looks at, in one HTML page with its figures.

WORKDIR/report.html is the page; WORKDIR/report/ has every figure in it as csv, and all of them in report.json. With
`config.report.compare` other runs stand beside it, each on its own curve, and what differs has an interval.
"""

from collections.abc import Sequence
from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.files import write_atomically
from hpa_jax.report.html import number
from hpa_jax.report.page import Section, page
from hpa_jax.report.run import curves, labels, overview
from hpa_jax.report.run import gallery as pictures
from hpa_jax.report.run.comparison import (
    Difference,
    compare,
    differences_section,
    differences_tables,
)
from hpa_jax.report.run.gallery import Gallery
from hpa_jax.report.run.load import Run, read_runs
from hpa_jax.report.run.published_section import published_section, published_table
from hpa_jax.report.tables import Table, write_tables

FILE, FOLDER = "report.html", "report"


def report_run(config: Config, workdir: Path) -> None:
    """Writes WORKDIR/report.html and the tables in WORKDIR/report/, and prints where they lie.

    Raises InputError: no such run or dataset, damage, or runs that cannot stand on one page.
    """
    runs = read_runs(config, workdir)
    found = [compare(runs[0], other) for other in runs[1:]]
    shown = pictures.pictured(pictures.chosen(runs[0]), runs[0], workdir)
    html = run_page(runs, found, shown)
    files = write_tables(workdir / FOLDER, run_tables(runs, found, shown))
    path = workdir / FILE
    write_atomically(path, html)
    size = len(html.encode()) / 1e6
    print(f"{path}: {pictures.size_of(shown)}, {size:.1f} MB; open it in a browser")
    print(f"{workdir / FOLDER}: the same figures in {len(files)} files, report.json has all")


def run_page(runs: Sequence[Run], found: Sequence[Difference], shown: Gallery) -> str:
    """The page: a function of what was found, without a date or a path, so that the same run gives the same bytes.

    Args:
      runs: the one that the page is about, then those it is compared with.
      found: of each of the others.
      shown: fields of the first, with pictures.
    """
    run = runs[0]
    title = run.name + (
        f" beside {', '.join(other.name for other in runs[1:])}" if len(runs) > 1 else ""
    )
    where = " + ".join(run.table.source_names)
    subtitle = f"{run.config.model.name} on {number(len(run.table.ids))} fields of {run.table.split} of {where}"
    sections = [
        Section("overview", "At a glance", overview.overview_section(runs)),
        Section("published", "Beside published figures", published_section(runs)),
    ]
    if found:
        sections.append(
            Section("differences", "Is one run better?", differences_section(runs[0], found))
        )
    sections += [
        Section("learning", "Learning curves", overview.learning_section(runs)),
        Section("labels", "F1 by label", labels.labels_section(runs)),
        Section("precision", "Precision and recall", curves.precision_recall_section(runs)),
        Section("thresholds", "Thresholds", curves.thresholds_section(run)),
        Section("calibration", "Calibration", curves.calibration_section(runs)),
        Section("errors", "Errors that come together", labels.errors_section(run)),
        Section("mistakes", "The surest mistakes", pictures.mistakes_section(run, shown)),
        Section("hits", "The best hits", pictures.hits_section(run, shown)),
        Section("settings", "How it was trained", overview.settings_section(runs)),
    ]
    return page(title, subtitle, sections)


def run_tables(runs: Sequence[Run], found: Sequence[Difference], shown: Gallery) -> list[Table]:
    """The figures of the page."""
    return [
        overview.figures_table(runs),
        published_table(runs),
        *(differences_tables(runs[0], found) if found else ()),
        overview.learning_table(runs),
        labels.labels_table(runs),
        curves.precision_recall_table(runs),
        curves.thresholds_table(runs),
        curves.calibration_table(runs),
        labels.errors_table(runs),
        pictures.gallery_table(runs[0], shown),
    ]
