"""--mode=verify: whether a run, or an export, is as it was written.

Each thing has a line: `ok` or `damaged`, its name, and what was found. Nothing is changed, except
that a run of an older version is sealed where that is asked for.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hpa_jax.config import Config
from hpa_jax.errors import InputError, one_line
from hpa_jax.evaluation import score_table
from hpa_jax.files import read_json
from hpa_jax.folders.export_manifest import MANIFEST, OPTIONAL, check_digests
from hpa_jax.tracking import metrics_file
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.manifest import DamagedCheckpoint
from hpa_jax.verify.seal import seal_run
from hpa_jax.workdir import LEARNED_IDS, RunRecord, read_config, read_learned_ids, read_record

_WRITE_AGAIN = "write it anew with the mode that wrote it"


class Thing(NamedTuple):
    """Something to check.

    Attributes:
      name: of a file or folder, within the run's.
      check: returns what was found, in words; raises InputError where it is damaged.
    """

    name: str
    check: Callable[[], str]


def verify(workdir: Path, *, seal: bool = False) -> None:
    """Checks a run or an export, and prints a line for each thing in it.

    Args:
      workdir: the folder of a run, or an export.
      seal: a run of an older version gets what tells from now on whether it is as it was.

    Raises:
      InputError: something is damaged; or the folder is neither.
    """
    if (workdir / "config.json").exists():
        if seal:
            print(seal_run(workdir), flush=True)
        things = run_things(workdir)
    elif (workdir / MANIFEST).exists():
        things = iter([_export(workdir)])
    else:
        raise InputError(
            f"{workdir} holds no run (config.json) and no export ({MANIFEST}); give "
            "--workdir the folder of one"
        )
    damaged = []
    count = 0
    for thing in things:
        count += 1
        try:
            print(f"ok       {thing.name}: {thing.check()}", flush=True)
        except InputError as error:
            print(f"damaged  {thing.name}: {one_line(error)}", flush=True)
            damaged.append(thing.name)
    if damaged:
        raise InputError(
            f"{workdir}: {len(damaged)} of {count} things are damaged: {', '.join(damaged)}; put "
            "them back from a copy"
        )


def run_things(workdir: Path) -> Iterator[Thing]:
    """What there is to check in the folder of a run."""
    yield Thing("config.json", lambda: _config(workdir))
    # What else is there can be checked without it, if not against it.
    config = Config()
    record = None
    try:
        config = read_config(workdir)
        record = read_record(workdir)
    except InputError:
        pass
    if record is not None and record.learned_ids:
        yield Thing(LEARNED_IDS, lambda: f"{len(read_learned_ids(workdir))} images")
    metrics_path = workdir / metrics_file.FILE_NAME
    if metrics_path.exists():
        name = metrics_path.name
        yield Thing(name, lambda: f"{len(metrics_file.read_records(metrics_path))} lines")
    yield from _checkpoints(workdir, config, record)
    for name in ("pretrained.json", "evaluation.json"):
        path = workdir / name
        if path.exists():
            yield Thing(name, lambda path=path: _json(path))
    for path in sorted((workdir / "scores").glob("*.npz")):
        yield Thing(f"scores/{path.name}", lambda path=path: _scores(path))
    if (workdir / "export").exists():
        yield _export(workdir / "export", name="export")


def _config(workdir: Path) -> str:
    read_config(workdir)
    record = read_record(workdir)
    if record.format == 1:
        return "of an older version: nothing to compare it with"
    return f"format {record.format}, run {record.id}"


def _checkpoints(workdir: Path, config: Config, record: RunRecord | None) -> Iterator[Thing]:
    folder = workdir / "checkpoints"
    run_id = None if record is None else record.id
    checkpoints = None
    try:
        checkpoints = Checkpoints(folder, metric=config.checkpoint.metric, run_id=run_id)
    except InputError as error:
        message = str(error)
        yield Thing("checkpoints", lambda: _raise(message))
    else:
        for step in checkpoints.steps():
            yield Thing(f"checkpoints/{step}", lambda step=step: _step(checkpoints, step))
        yield Thing("checkpoints", lambda: _best(checkpoints))
    path = workdir / "thresholds.json"
    if path.exists():
        yield Thing(path.name, lambda: _thresholds(path, config, checkpoints))


def _raise(message: str) -> str:
    raise InputError(message)


def _step(checkpoints: Checkpoints, step: int) -> str:
    found = checkpoints.verify(step)
    if found is None:
        checkpoints.metrics(step)
        checkpoints.position(step)
        checkpoints.written(step)
        return "can be read; of an older version: nothing to compare it with"
    if not checkpoints.has_metrics_file(step):
        raise DamagedCheckpoint("its file of metrics is missing, or another; its manifest has them")
    evaluated = "evaluated" if found.metrics else "not evaluated"
    return f"{len(found.arrays)} arrays, {found.num_bytes() / 1e6:.1f} MB, {evaluated}"


def _best(checkpoints: Checkpoints) -> str:
    steps = checkpoints.steps()
    lost = checkpoints.lost_best()
    if lost is not None:
        what = "is without its metrics" if lost in steps else "is not there"
        raise InputError(f"step {lost} was the best, and {what}")
    if not steps:
        return "none yet"
    return f"step {checkpoints.best()} is the best, step {steps[-1]} the latest"


def _thresholds(path: Path, config: Config, checkpoints: Checkpoints | None) -> str:
    content = read_json(path, advice=_WRITE_AGAIN)
    thresholds = content.get("thresholds")
    names = config.label_names()
    if not isinstance(thresholds, dict) or sorted(thresholds) != sorted(names):
        raise InputError(f"its labels are not the run's; {_WRITE_AGAIN}")
    step = content.get("checkpoint")
    fitted = None
    # A run that goes on may have removed it since.
    if checkpoints is not None and step in checkpoints.steps():
        with contextlib.suppress(DamagedCheckpoint):
            fitted = checkpoints.metrics(step).get("thresholds")
    if fitted is not None and fitted != [thresholds[name] for name in names]:
        raise InputError(f"they are not those of checkpoint {step}; {_WRITE_AGAIN}")
    return f"of checkpoint {step}"


def _json(path: Path) -> str:
    values: dict[str, Any] = read_json(path, advice=_WRITE_AGAIN)
    return f"{len(values)} values"


def _scores(path: Path) -> str:
    table = score_table.load(path)
    return f"{len(table.ids)} images, checkpoint {table.checkpoint}"


def _export(folder: Path, name: str = "") -> Thing:
    def check() -> str:
        digests = check_digests(folder)
        optional = [name for name in OPTIONAL if name in digests]
        found = f"{len(digests)} files of an export"
        if optional:
            found += f", {', '.join(optional)} among them"
        return found

    return Thing(name or str(folder), check)
