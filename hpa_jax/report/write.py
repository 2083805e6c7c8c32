"""`--mode=report`: a page about the run in a folder, or about datasets to train on."""

from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.report.dataset.page import write_dataset_report
from hpa_jax.report.run.page import write_run_report


def write_report(config: Config, workdir: Path, out: Path | None = None) -> None:
    """Writes OUT/report.html: about the run in WORKDIR, else about the datasets of the config.

    Args:
      config: of the run, or of this call.
      workdir: the run's folder; one that holds no run asks for the datasets.
      out: the folder of what is written; None: `workdir`.

    Raises:
      InputError: the run or a dataset is missing or damaged.
    """
    if (workdir / "config.json").is_file():
        write_run_report(config, workdir, out or workdir)
    else:
        write_dataset_report(config.data, config.source_names(), out or workdir)
