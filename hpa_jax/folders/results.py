"""Result files and whose they are: what a mode would write over is looked at before it works.

A run's folder is the program's, as its config.json says. In any other folder a result replaces
what is known by its content to be an earlier one; a `report.html` or `plan.json` of another program
is left alone.
"""

import json
import os
import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpa_jax.errors import InputError, one_line
from hpa_jax.files import is_partial

GENERATOR = '<meta name="generator" content="hpa_jax'
"""In the head of every page."""

# In the head of the pages of version 0.1 and 0.2, which have no generator.
_OLD_PAGE = '<meta name="color-scheme" content="light dark"><meta name="referrer"'
_HEAD_BYTES = 4096


def refuse_foreign_results(folder: Path, names: Sequence[str], advice: str) -> None:
    """Refuses to have files written over that are not of this program.

    Args:
      folder: that results are to be written to; it need not be there.
      names: of RESULTS.
      advice: the end of the message: what to do.

    Raises:
      InputError: names the file.
    """
    is_run = _holds_run(folder)
    for name in names:
        for path in _files(folder, name):
            reason = _fault(path, name, is_run)
            if reason:
                raise InputError(f"{path} is there and is not written over: {reason}; {advice}")


def _holds_run(folder: Path) -> bool:
    content = _json(folder / "config.json")
    return isinstance(content, dict) and content.keys() >= {"data", "model", "train"}


def _files(folder: Path, name: str) -> list[Path]:
    """The files of a result that are there; a folder of tables stands for itself."""
    try:
        if name == "scores":
            return sorted((folder / name).glob("*.npz"))
        path = folder / name
        return [path] if os.path.lexists(path) else []
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {one_line(error)}") from error


def _fault(path: Path, name: str, is_run: bool) -> str:
    try:
        mode = os.lstat(path).st_mode
        is_right_type = stat.S_ISDIR(mode) if name == "report" else stat.S_ISREG(mode)
        if not is_right_type:
            return "it is a link" if stat.S_ISLNK(mode) else "it is of another type"
        if is_run or RESULTS[name](path):
            return ""
    except OSError as error:
        return one_line(error)
    return "this program did not write it"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _has_keys(*keys: str) -> Callable[[Path], bool]:
    def has_them(path: Path) -> bool:
        content = _json(path)
        return isinstance(content, dict) and content.keys() >= set(keys)

    return has_them


def _is_plan(path: Path) -> bool:
    rows = _json(path)
    if not isinstance(rows, list):
        return False
    return all(isinstance(row, dict) and row.keys() >= {"topology", "key"} for row in rows)


def is_page(path: Path) -> bool:
    """Whether a file is a page of this program."""
    with open(path, encoding="utf-8", errors="replace") as file:
        head = file.read(_HEAD_BYTES)
    return GENERATOR in head or _OLD_PAGE in head


def _is_predictions(path: Path) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        header = file.readline(_HEAD_BYTES).strip()
    return header.startswith("id,") and header.endswith(",labels")


def _are_tables(folder: Path) -> bool:
    """Whether every csv in the folder is a table of its report.json; a new folder has neither.

    What a killed writer has left does not count.
    """
    names = {path.name for path in folder.iterdir() if not is_partial(path.name)}
    if not names:
        return True
    tables = _json(folder / "report.json")
    if not isinstance(tables, dict):
        return False
    return names <= {"report.json", *(f"{table}.csv" for table in tables)}


def _are_scores(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return {"ids.npy", "scores.npy", "thresholds.npy"} <= set(archive.namelist())
    except (zipfile.BadZipFile, ValueError):
        return False


RESULTS: dict[str, Callable[[Path], bool]] = {
    "evaluation.json": _has_keys("macro_f1", "per_label"),
    "ensemble.json": _has_keys("models", "weights_by_fold"),
    "plan.json": _is_plan,
    "predictions.csv": _is_predictions,
    "probe.json": _has_keys("protocol", "per_label"),
    "report": _are_tables,
    "report.html": is_page,
    "scores": _are_scores,
    "sweep.json": _has_keys("search_space", "trials"),
}
"""Names of results, and how each is known; `report` and `scores` are folders."""
