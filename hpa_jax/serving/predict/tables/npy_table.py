"""Scores as a NumPy array float32 [N, L], and beside it a JSON of what its rows and columns are."""

import json
from pathlib import Path

import numpy as np

from hpa_jax.files import complete_file, write_json
from hpa_jax.serving.predict.tables.content import Content

BESIDE = ".json"
NEEDS = ()
EMBEDDINGS = False


def write(path: Path, content: Content) -> None:
    """Writes PATH (.npy) and PATH with the suffix .json, each completely or not at all."""
    shape = (content.count, len(content.names))
    rows = {"ids": [], "notes": [], "labels": []}
    extra = {column.name: [] for column in content.extra}
    with complete_file(path) as hidden:
        with open(hidden, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )
            for row in content.rows():
                file.write(row.probabilities.astype("<f4").tobytes())
                rows["ids"].append(row.id)
                rows["notes"].append(row.note)
                for name, value in zip(extra, row.extra, strict=True):
                    extra[name].append(value)
                rows["labels"].append([content.ids[k] for k in np.flatnonzero(row.decided)])
        # Before the array gets its name, so that whoever finds the array finds this.
        about = {"hpa_jax": "predict", "net": content.net, "label_names": content.names}
        about |= {"label_ids": content.ids, "thresholds": content.description["thresholds"]}
        write_json(path.with_suffix(".json"), {**about, **content.about, **rows, **extra})


def is_ours(path: Path) -> bool:
    """Whether a file is such a table, by what lies beside it."""
    try:
        about = json.loads(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and about.get("hpa_jax") == "predict"
