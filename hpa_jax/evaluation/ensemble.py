"""Several runs as one classifier: the folds of a model put together, and several models weighted.

Runs that differ in nothing but data.fold and train.seed are one model. On the parts that the runs themselves evaluate
(their folds) a field is scored by those runs alone that were not trained on it; there the models' weights and the
thresholds are fitted, and kept in ensemble.json. On any other part (`test`) every run scores every field: the mean over
a model's runs, the models by their kept weights, decided by the kept thresholds.

Unusual: what is reported of the fields that the weights were fitted on is mixed, fold by fold, with weights fitted on
the other folds, the same folds that the thresholds are cross-fitted over.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpa_jax.config import Config, Evaluate, listed, to_dict
from hpa_jax.errors import InputError
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.score_pools import averaged, shared
from hpa_jax.evaluation.score_table import ScoreTable, save
from hpa_jax.files import locked, write_json
from hpa_jax.labels import LABELS
from hpa_jax.metrics import classification, stacking, thresholds
from hpa_jax.workdir import read_config

# What two runs of one model may differ in: the fields that they hold out, the draws, and what only the host sees.
_OF_ONE_RUN = {
    "data": ("fold", "data_dir", "threads"),
    "train": ("seed", "log_every", "log_ids"),
    "checkpoint": ("every", "keep"),
}
_SECTIONS = ("data", "model", "augment", "optim", "train", "loss", "checkpoint")


@dataclass(frozen=True)
class Member:
    """One run: its folder as the user names it, the configuration to score it with, its scores."""

    folder: str
    config: Config
    table: ScoreTable


@dataclass(frozen=True)
class Pooled:
    """
    Attributes:
      table: scores, thresholds and fields of the ensemble.
      models: what ensemble.json says of each model: `name`, `weight`, `macro_f1_crossfit` (alone), `runs`.
      said: lines for the terminal.
    """

    table: ScoreTable
    models: list[dict]
    said: str


def pool(config: Config, workdir: Path) -> Pooled:
    """Scores of `config.evaluate.runs` together; `workdir` is the ensemble's folder.

    With config.data.eval_split at its default each run is scored on the part that it evaluated itself, and
    WORKDIR/ensemble.json is written; with another part ensemble.json is read.

    Raises:
      InputError: a folder without a run, runs that do not go together, or no ensemble.json of these runs.
    """
    if (workdir / "config.json").is_file():
        raise InputError(
            f"--workdir={workdir} is the folder of a run; give the ensemble one of its own"
        )
    chosen = _configs(config)
    fits = config.data.eval_split == Config().data.eval_split
    kept = None if fits else _Kept(workdir / "ensemble.json", chosen)
    if fits:
        _check_held_out(chosen)
    models: list[list[Member]] = []
    for folder, run_config in chosen.items():
        with locked(Path(folder)):
            sources = listed(run_config.evaluate.sources)
            table = Predictor(run_config, Path(folder)).table(run_config.data.eval_split, sources)
        member = Member(folder, run_config, table)
        for model in models:
            if _recipe(model[0].config) == _recipe(run_config):
                model.append(member)
                break
        else:
            models.append([member])
    _check_labels([member for model in models for member in model])
    each = [averaged([member.table for member in model]) for model in models]
    tables = shared(each)
    pooled = (
        _fit(config.evaluate, workdir, models, tables)
        if kept is None
        else kept.apply(models, tables)
    )
    save(workdir / "scores" / f"{pooled.table.split}.npz", pooled.table)
    used, most = len(pooled.table.ids), max(len(table.ids) for table in each)
    left_out = f"{used} fields that every model has scored, of {most}\n" if used < most else ""
    return replace(pooled, said=left_out + pooled.said)


def _configs(config: Config) -> dict[str, Config]:
    """Each run's folder and own configuration, with what this call says of data and evaluation."""
    default, chosen = Config().data, {}
    for folder in listed(config.evaluate.runs):
        if _place(folder) in map(_place, chosen):
            raise InputError(f"config.evaluate.runs={config.evaluate.runs!r} names {folder} twice")
        trained = read_config(Path(folder))
        data = replace(
            trained.data, sources=trained.data.sources or (trained.data.name,)
        )  # whose figures mean is
        for name in ("data_dir", "name", "eval_split"):
            if getattr(config.data, name) != getattr(default, name):
                setattr(data, name, getattr(config.data, name))
        chosen[folder] = replace(trained, data=data, evaluate=replace(config.evaluate, runs=""))
    return chosen


def _place(folder: str) -> str:
    return str(Path(folder).resolve())


def _recipe(config: Config) -> dict:
    plain = to_dict(config)
    return {
        s: {k: v for k, v in plain[s].items() if k not in _OF_ONE_RUN.get(s, ())} for s in _SECTIONS
    }


def _check_held_out(chosen: dict[str, Config]) -> None:
    for folder, config in chosen.items():
        trained, seen = config.data.train_split, config.data.eval_split
        if trained in ("all", seen) or seen == "all":
            raise InputError(
                f"{folder} was trained on {trained!r} and evaluated on {seen!r}: weights and thresholds must not be "
                "fitted on fields that a run learnt from; leave that run out"
            )


def _check_labels(members: list[Member]) -> None:
    first = members[0]
    for member in members:
        if member.table.label_ids != first.table.label_ids:
            raise InputError(
                f"{member.folder} has the labels {list(member.table.label_ids)}, {first.folder} "
                f"{list(first.table.label_ids)}: runs of one ensemble must have the same"
            )


def _fit(
    e: Evaluate, workdir: Path, models: list[list[Member]], tables: list[ScoreTable]
) -> Pooled:
    """Fits weights and thresholds out of fold and writes ensemble.json."""
    first, split = tables[0], models[0][0].config.data.eval_split
    scores, targets = np.stack([table.scores for table in tables]), first.targets
    weights = stacking.fit_weights(scores, targets)
    dealt = {"folds": e.folds, "seed": e.seed, "groups": first.groups}
    mixed, by_fold = stacking.crossfit_mix(scores, targets, **dealt)
    few = {"few_positives": e.few_positives}
    fitted = thresholds.crossfit(stacking.mix(scores, weights), targets, **dealt, **few)[
        "thresholds"
    ]
    described = []
    for model, table, weight in zip(models, tables, weights, strict=True):
        alone = thresholds.crossfit(table.scores, targets, **dealt, **few)["crossfit"]
        described.append(
            {
                "name": f"{model[0].config.model.name}, {model[0].config.data.image_size} px",
                "weight": float(weight),
                "macro_f1_crossfit": alone["macro_f1"],
                "runs": [_described(member) for member in model],
            }
        )
    kept = {
        "models": described,
        "weights_by_fold": by_fold.tolist(),
        "fitted_on": split,
        "fields": len(first.ids),
        "views": first.views,
        "few_positives": e.few_positives,
        "thresholds": dict(zip((LABELS[i] for i in first.label_ids), fitted.tolist(), strict=True)),
    }
    write_json(workdir / "ensemble.json", kept)
    own = {"thresholds": fitted, "thresholds_split": split, "checkpoint": -1, "key": ""}
    lines = [
        f"weight {model['weight']:.3f}: {model['name']}, {', '.join(run['folder'] for run in model['runs'])}; "
        f"alone macro F1 {model['macro_f1_crossfit']:.4f} cross-fitted\n"
        for model in described
    ]
    return Pooled(
        replace(first, scores=mixed, **own),
        described,
        "".join(lines) + f"wrote {workdir / 'ensemble.json'}\n",
    )


def _described(member: Member) -> dict:
    config, table = member.config, member.table
    return {
        "folder": member.folder,
        "fold": config.data.fold,
        "seed": config.train.seed,
        "checkpoint": table.checkpoint,
        "fields": len(table.ids),
        "macro_f1": _macro_f1(table),
    }


def _macro_f1(table: ScoreTable) -> float:
    return classification.ratios(classification.decisions(table.scores > 0.5, table.targets > 0))[
        "macro_f1"
    ]


class _Kept:
    """ensemble.json, and that it is of these runs.

    Raises:
      InputError: it is not there, not whole, or of other runs, checkpoints or views.
    """

    def __init__(self, path: Path, chosen: dict[str, Config]):
        self._path = path
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._models, self._split, self._views = (
                kept["models"],
                str(kept["fitted_on"]),
                kept["views"],
            )
            self._thresholds = {
                str(name): float(value) for name, value in kept["thresholds"].items()
            }
            runs = {
                _place(run["folder"]): int(run["checkpoint"])
                for model in self._models
                for run in model["runs"]
            }
            self._weights = {
                _place(run["folder"]): float(m["weight"]) for m in self._models for run in m["runs"]
            }
        except FileNotFoundError:
            raise self._refusal("no such file") from None
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise self._refusal(f"cannot be read ({type(error).__name__}: {error})") from None
        self._checkpoints = runs
        if runs.keys() != set(map(_place, chosen)):
            raise self._refusal(
                f"is of other runs ({', '.join(r['folder'] for m in self._models for r in m['runs'])})"
            )

    def _refusal(self, what: str) -> InputError:
        return InputError(
            f"{self._path}: {what}; fit it with --mode=evaluate, the same --config.evaluate.runs and views, and no "
            "--config.data.eval_split"
        )

    def apply(self, models: list[list[Member]], tables: list[ScoreTable]) -> Pooled:
        """The kept weights and thresholds on another part."""
        weights = []
        for model in models:
            for member in model:
                if self._checkpoints[_place(member.folder)] != member.table.checkpoint:
                    raise self._refusal(
                        f"is of another checkpoint of {member.folder} than {member.table.checkpoint}"
                    )
                if self._views != member.table.views:
                    raise self._refusal(
                        f"is of other views ({self._views}) than {member.table.views}"
                    )
            weights.append(self._weights[_place(model[0].folder)])
        names = [LABELS[i] for i in tables[0].label_ids]
        if set(names) != self._thresholds.keys():
            raise self._refusal("is of other labels")
        mixed = stacking.mix(np.stack([table.scores for table in tables]), np.array(weights))
        own = {
            "thresholds": np.array([self._thresholds[name] for name in names]),
            "thresholds_split": self._split,
        }
        return Pooled(
            replace(tables[0], scores=mixed, checkpoint=-1, key="", **own), self._models, ""
        )
