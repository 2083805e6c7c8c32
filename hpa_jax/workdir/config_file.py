"""config.json: a run's settings and what it is, with a digest of both.

A setting that was edited would make the run another one without a word, and a damaged one might:
both are refused.
"""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hpa_jax
from hpa_jax.config import RUN, Config, check, from_dict, to_dict
from hpa_jax.errors import InputError
from hpa_jax.files import SHA256, json_digest, read_json, write_json
from hpa_jax.labels import HPA_2018
from hpa_jax.workdir.record import FORMAT, RunRecord

# Paths that belong to one call. Those in config.json are ignored: somebody else may have written
# it, and they would decide where this program reads and writes.
_OF_ONE_CALL = (
    "evaluate.scores",
    "evaluate.targets",
    "evaluate.groups",
    "evaluate.labels",
    "evaluate.runs",
    "export.folder",
    "predict.images",
    "predict.out",
    "predict.overlays",
    "report.compare",
)

# Of images that are not square, before there was a setting for it.
_OLD_ASPECT = "stretch"

_warned: set[Path] = set()


def read_config(workdir: Path) -> Config:
    """The resolved configuration of the run in `workdir`, without the paths of a single call.

    Raises:
      InputError: there is no run; its config.json is damaged, was edited, or is of a newer version.
    """
    return read(workdir)[0]


def read_record(workdir: Path) -> RunRecord:
    """What the run in `workdir` is.

    Raises:
      InputError: as of `read_config`.
    """
    return read(workdir)[1]


def with_aspect_of_run(config: Config, workdir: Path) -> Config:
    """`config`, with the aspect of the run in `workdir` if it names none and there is a run.

    Without that a run of an older version, which stretched, would be another one.

    Raises:
      InputError: as of `read_config`.
    """
    if config.data.aspect or not (workdir / "config.json").is_file():
        return config
    aspect = read_config(workdir).data.aspect
    return dataclasses.replace(config, data=dataclasses.replace(config.data, aspect=aspect))


def with_parts_of_run(config: Config, workdir: Path) -> Config:
    """`config`, with the parts of the fused net in `workdir` if it names none and there is a run.

    Without that a run could not be resumed where the runs that it was made of are gone.

    Raises:
      InputError: as of `read_config`.
    """
    if config.fusion.parts or not (workdir / "config.json").is_file():
        return config
    parts = read_config(workdir).fusion.parts
    return dataclasses.replace(config, fusion=dataclasses.replace(config.fusion, parts=parts))


def read(workdir: Path) -> tuple[Config, RunRecord]:
    """Both of what config.json holds.

    Raises:
      InputError: as of `read_config`.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise InputError(
            f"{workdir} holds no run (no config.json); give --workdir the folder of a training run"
        )
    content = read_json(path, advice="it is written by training and not to be edited")
    record = RunRecord(format=1, id="")
    if RUN in content:
        record = _parse_record(path, content)
    try:
        config = from_dict(content)
        check(config)
    except InputError as error:
        raise InputError(f"{workdir}, config.json: {error}") from None
    _fill_in_old_settings(config, content)
    for name in _OF_ONE_CALL:
        section, _, field_name = name.partition(".")
        setattr(getattr(config, section), field_name, "")
    if record.format == 1:
        _warn_of_an_older_format(workdir)
    return config, record


def _fill_in_old_settings(config: Config, content: Mapping[str, Any]) -> None:
    """Settings that older versions did not have yet: what they did instead."""
    written = content.get("data", {})
    if "vocabulary" not in written:
        config.data.vocabulary = HPA_2018.labels
    if "aspect" not in written:
        config.data.aspect = _OLD_ASPECT


def _warn_of_an_older_format(workdir: Path) -> None:
    """Warns once for each run, however often this process reads it."""
    resolved = workdir.resolve()
    if resolved in _warned:
        return
    _warned.add(resolved)
    print(
        f"warning: the run in {workdir} is of an older version: nothing in it tells whether its "
        "settings, data and checkpoints are as they were; from now on that can be told after "
        f"--mode=verify --config.verify.seal=True --workdir={workdir}",
        file=sys.stderr,
    )


def _parse_record(path: Path, content: dict[str, Any]) -> RunRecord:
    run = content[RUN]
    if not isinstance(run, dict) or type(run.get("format")) is not int:
        raise _changed(path)
    if run["format"] > FORMAT:
        raise InputError(
            f"{path} is of format {run['format']}, and hpa_jax {hpa_jax.__version__} reads up to "
            f"{FORMAT}: install the version that wrote it, {run.get('hpa_jax')!r}, or a newer one"
        )
    if run.get(SHA256) != _digest(content):
        raise _changed(path)
    return RunRecord(
        format=run["format"],
        id=run["id"],
        datasets=run["datasets"],
        images=run["images"],
        learned_ids=run["learned_ids"],
        versions=run.get("versions", {}),
        preparations=run.get("preparations", {}),
    )


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path} was changed after training wrote it (its SHA-256 is another): put it back as it "
        "was, and give other settings as --config.SECTION.FIELD=VALUE"
    )


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of all that config.json holds besides this digest."""
    run = {name: value for name, value in content[RUN].items() if name != SHA256}
    return json_digest({**content, RUN: run})


def write_config(workdir: Path, config: Config, record: RunRecord) -> None:
    """Writes config.json, completely or not at all.

    Raises:
      InputError: a value is of another type than its setting.
    """
    content = to_dict(config)
    # A recipe may set a flag to 1, which would be refused when it is read again.
    from_dict(content)
    if record.format > 1:
        content[RUN] = {
            "format": record.format,
            "id": record.id,
            "hpa_jax": hpa_jax.__version__,
            "datasets": record.datasets,
            "images": record.images,
            "learned_ids": record.learned_ids,
        }
        if record.versions:
            content[RUN]["versions"] = record.versions
        if record.preparations:
            content[RUN]["preparations"] = record.preparations
        content[RUN][SHA256] = _digest(content)
    write_json(workdir / "config.json", content)
