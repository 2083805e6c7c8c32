"""`--mode=report` for a run: what it has learnt, how sure that is, and what it looks at.

OUT/report.html is the page; OUT/report/ has every number in it as csv, and all of them in
report.json. With `config.report.compare` other runs are shown beside it, each as its own curve,
and what differs has an interval.
"""

from collections.abc import Sequence
from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.files import write_atomically
from hpa_jax.report.html import Section, names_of, number, page, plural
from hpa_jax.report.run import curves, gallery, labels, overview, single_label
from hpa_jax.report.run.comparison import Comparison, compare, comparison_section
from hpa_jax.report.run.gallery import Gallery
from hpa_jax.report.run.load import Run, read_runs
from hpa_jax.report.run.published import published_section
from hpa_jax.report.tables import write_tables

FILE, FOLDER = "report.html", "report"


def write_run_report(config: Config, workdir: Path, out: Path) -> None:
    """Writes OUT/report.html and the tables in OUT/report/, and prints where they are.

    Args:
      config: of the run.
      workdir: the run's folder.
      out: the folder of what is written.

    Raises:
      InputError: a run or a dataset is missing or damaged, or the runs do not fit on one page.
    """
    runs, predictor = read_runs(config, workdir, out)
    comparisons = [compare(runs[0], other) for other in runs[1:]]
    shown = gallery.add_pictures(gallery.choose_cases(runs[0]), runs[0], predictor)
    sections = run_sections(runs, comparisons, shown)
    html = run_page(runs, sections)
    tables = [table for section in sections for table in section.tables]
    files = write_tables(out / FOLDER, tables)
    path = out / FILE
    write_atomically(path, html)
    count = plural(len(shown.pictures), "image")
    megabytes = len(html.encode()) / 1e6
    print(f"{path}: {count} shown, {megabytes:.1f} MB; open it in a browser")
    print(f"{out / FOLDER}: the same numbers in {len(files)} files, report.json has all")


def run_sections(
    runs: Sequence[Run], comparisons: Sequence[Comparison], shown: Gallery
) -> list[Section]:
    """Returns the sections of the page, with their tables.

    Args:
      runs: the one that the page is about, then those it is compared with.
      comparisons: with each of the others.
      shown: images of the first, with pictures.
    """
    run = runs[0]
    if run.table.single_label:
        return [
            single_label.overview_section(run),
            curves.learning_section(runs),
            single_label.confusion_section(run),
            single_label.labels_section(run),
            curves.calibration_section(runs),
            gallery.mistakes_section(run, shown),
            gallery.hits_section(run, shown),
            overview.settings_section(runs),
        ]
    sections = [overview.overview_section(runs), published_section(runs)]
    if comparisons:
        sections.append(comparison_section(run, comparisons))
    return [
        *sections,
        curves.learning_section(runs),
        labels.labels_section(runs),
        curves.precision_recall_section(runs),
        curves.thresholds_section(runs),
        curves.calibration_section(runs),
        labels.errors_section(runs),
        gallery.mistakes_section(run, shown),
        gallery.hits_section(run, shown),
        overview.settings_section(runs),
    ]


def run_page(runs: Sequence[Run], sections: Sequence[Section]) -> str:
    """Returns the page. It has no date and no path: the same run gives the same bytes."""
    run = runs[0]
    title = run.name
    if len(runs) > 1:
        title += f" beside {', '.join(names_of(runs[1:]))}"
    datasets = " + ".join(run.table.source_names)
    images = f"{number(len(run.table.ids))} images of {run.table.split} of {datasets}"
    return page(title, f"{run.config.model.name} on {images}", sections)
