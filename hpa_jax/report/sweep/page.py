"""`--mode=report` for a sweep: its trials, which settings matter, and the values that it chose.

OUT/report.html is the page; OUT/report/ has its numbers as csv, and all of them in report.json.
It is made of sweep.json alone, while the sweep runs and afterwards.
"""

from pathlib import Path

from hpa_jax.files import write_atomically
from hpa_jax.report.html import page, plural
from hpa_jax.report.sweep.charts import learning_section, parallel_section, slice_section
from hpa_jax.report.sweep.load import Sweep, read_sweep
from hpa_jax.report.sweep.overview import (
    chosen_section,
    importance_section,
    overview_section,
    trials_section,
)
from hpa_jax.report.tables import write_tables

FILE, FOLDER = "report.html", "report"


def write_sweep_report(folder: Path, out: Path) -> Path:
    """Writes OUT/report.html and the tables in OUT/report/ about the sweep in `folder`.

    Returns:
      The path of the page.

    Raises:
      InputError: sweep.json cannot be read.
    """
    sweep = read_sweep(folder)
    sections = [
        overview_section(sweep),
        chosen_section(sweep),
        importance_section(sweep),
        slice_section(sweep),
        parallel_section(sweep),
        learning_section(sweep),
        trials_section(sweep),
    ]
    write_tables(out / FOLDER, [table for section in sections for table in section.tables])
    path = out / FILE
    write_atomically(path, page(f"Sweep {sweep.name}", _subtitle(sweep), sections))
    return path


def _subtitle(sweep: Sweep) -> str:
    """Without a date and a path: the same sweep gives the same bytes."""
    trials = plural(len(sweep.trials), "trial")
    return f"{trials} of {sweep.recipe}, ranked by {sweep.metric} on {sweep.split}"
