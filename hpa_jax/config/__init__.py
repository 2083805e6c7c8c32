"""Every setting of a run: type, default, range, unit and meaning, each declared once.

A recipe in `configs/` returns a `Config`; `--config.SECTION.FIELD=VALUE` overrides one field,
and an unknown field or a wrong type is refused by name. `config.json` in a run's folder is the
resolved form, and the only one that programs read back.

To add a setting, add a field to its section: its range and its line of `--help` stand beside it.

setting.py     how a field is declared
data.py        which images a net sees, and how they are prepared
channels.py    channels that are filled in
learning.py    net, augmentation, optimizer, training, losses, checkpoints
cell_masks.py  a net that finds each cell
metric.py      metric learning: embeddings in place of labels
fusion.py      several nets as one
cells.py       a net that learns from single cells
results.py     figures, exports, tables, pages of a finished run
machine.py     devices, plans, searches
run_config.py  all sections; config.json, paths, help
checks.py      values that no type can refuse
"""

from hpa_jax.config.cell_masks import CellMasks
from hpa_jax.config.cells import Cells
from hpa_jax.config.channels import Channels
from hpa_jax.config.checks import check, check_label_ids
from hpa_jax.config.data import Data
from hpa_jax.config.fusion import Fusion
from hpa_jax.config.learning import Augment, Checkpoint, Loss, Model, Optim, Train, profile_window
from hpa_jax.config.machine import Devices, Plan, Sweep, Verify
from hpa_jax.config.metric import Metric
from hpa_jax.config.results import LICENCES, Evaluate, Export, Predict, Probe, Report, Segment
from hpa_jax.config.run_config import (
    RUN,
    Config,
    differences,
    expand_paths,
    from_dict,
    help_text,
    settings_of_steps,
    to_dict,
)
from hpa_jax.config.setting import listed, setting

__all__ = [
    "Augment",
    "CellMasks",
    "Channels",
    "Cells",
    "Checkpoint",
    "Config",
    "Data",
    "Devices",
    "Evaluate",
    "Export",
    "Fusion",
    "LICENCES",
    "Loss",
    "Metric",
    "Model",
    "Optim",
    "Plan",
    "Predict",
    "Probe",
    "RUN",
    "Report",
    "Segment",
    "Sweep",
    "Train",
    "Verify",
    "check",
    "check_label_ids",
    "differences",
    "expand_paths",
    "from_dict",
    "help_text",
    "listed",
    "profile_window",
    "setting",
    "settings_of_steps",
    "to_dict",
]
