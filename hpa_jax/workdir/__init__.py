"""A run's folder: the same run at each start, on the same data.

config.json      the resolved configuration, and what the run is (`RunRecord`); a second start must
                 agree with both
learned_ids.npy  which images the run learns from (`hpa_jax.data.identity.id_hashes`)
metrics.jsonl    one object a line (tracking/logger.py)
checkpoints/     Orbax (training/checkpoint.py)
thresholds.json  of the best checkpoint
pretrained.json  the weights that the run started from, if any: file, SHA-256 (pretrained/load.py)

start.py writes the first two at the first start, and compares them at each later one.
config_file.py and learned_ids.py read and write one each; record.py is what a run is.
"""

from hpa_jax.workdir.config_file import (
    read_config,
    read_record,
    with_aspect_of_run,
    with_parts_of_run,
)
from hpa_jax.workdir.learned_ids import LEARNED_IDS, read_learned_ids
from hpa_jax.workdir.record import RunRecord
from hpa_jax.workdir.start import check_same_datasets, claim, write_record

__all__ = [
    "LEARNED_IDS",
    "RunRecord",
    "check_same_datasets",
    "claim",
    "read_config",
    "read_learned_ids",
    "read_record",
    "with_aspect_of_run",
    "with_parts_of_run",
    "write_record",
]
