"""A page to look at: what a dataset holds, before anything is trained on it; or what a run has learnt.

The page of a dataset is put together in dataset.py, that of a run in run.py.
"""

from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.report.dataset import page
from hpa_jax.report.run.page import report_run


def report(config: Config, workdir: Path) -> None:
    """Writes WORKDIR/report.html: about the run in WORKDIR if there is one, else about the datasets of `config.data`.

    Raises InputError: what is to be looked at is not there, or is damaged.
    """
    (report_run if (workdir / "config.json").is_file() else page.report)(config, workdir)


__all__ = ["report"]
