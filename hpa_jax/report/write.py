"""`--mode=report`: a page about the run or the sweep in a folder, or about datasets."""

from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.report.dataset.page import write_dataset_report
from hpa_jax.report.run.page import write_run_report
from hpa_jax.report.sweep.load import FILE as SWEEP
from hpa_jax.report.sweep.page import write_sweep_report


def write_report(config: Config, workdir: Path, out: Path | None = None) -> None:
    """Writes OUT/report.html: about the run or the sweep in WORKDIR, else about the datasets.

    Args:
      config: of the run, or of this call.
      workdir: the folder of a run or a sweep; any other asks for the datasets of the config.
      out: the folder of what is written; None: `workdir`.

    Raises:
      InputError: the run or a dataset is missing or damaged.
    """
    if (workdir / "config.json").is_file():
        write_run_report(config, workdir, out or workdir)
    elif (workdir / SWEEP).is_file():
        path = write_sweep_report(workdir, out or workdir)
        print(f"{path}: open it in a browser")
    else:
        write_dataset_report(config.data, config.source_names(), out or workdir)
