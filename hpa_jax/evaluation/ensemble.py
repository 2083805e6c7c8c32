"""Several runs as one classifier: the folds of a model put together, and several models weighted.

Runs that differ in nothing but data.fold and train.seed are one model. On the splits that the runs
themselves evaluate (their folds) an image is scored only by those runs that were not trained on it.
There the models' weights and the thresholds are fitted, and kept in ensemble.json. On any other
split (`test`) every run scores every image: the mean over a model's runs, the models averaged by
the kept weights, decided by the kept thresholds.

Notes:
- The reported scores of the images that the weights were fitted on are averaged fold by fold, with
  weights fitted on the other folds, the same folds that the thresholds are cross-fitted over.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hpa_jax.config import Config, Evaluate, listed, to_dict
from hpa_jax.errors import InputError
from hpa_jax.evaluation.ensemble_file import FILE_NAME, FittedEnsemble
from hpa_jax.evaluation.held_out import HeldOut, check_held_out
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.score_table import ScoreTable, average_tables, match_images, save
from hpa_jax.evaluation.split_scores import SplitScores, scores_folder
from hpa_jax.files import sealed, write_json
from hpa_jax.metrics import classification, stacking
from hpa_jax.metrics.crossfitting import crossfit
from hpa_jax.optim.losses import is_single_label
from hpa_jax.workdir import read_config

# What two runs of one model may differ in: the images that they hold out, the draws, and what only
# the host sees.
_OF_ONE_RUN = {
    "data": ("fold", "data_dir", "threads"),
    "train": ("seed", "log_every"),
    "checkpoint": ("every", "keep"),
}
_NAMED_LABELS = 3  # in a message
_SECTIONS = ("data", "model", "augment", "optim", "train", "loss", "checkpoint")


@dataclass(frozen=True)
class Member:
    """One run of an ensemble.

    Attributes:
      folder: as the user names it.
      config: to score it with.
      table: its scores.
      held_out: whether it has learnt from these images.
      acquisition_warnings: lines that tell how these images are not as it knows them.
    """

    folder: str
    config: Config
    table: ScoreTable
    held_out: HeldOut
    acquisition_warnings: list[str]


@dataclass(frozen=True)
class Ensemble:
    """Runs scored as one.

    Attributes:
      table: scores, thresholds and images of the ensemble.
      models: what ensemble.json records of each: `name`, `weight`, `macro_f1_crossfit` (alone),
        `runs`.
      messages: lines for the terminal.
      acquisition_warnings: those of its runs.
    """

    table: ScoreTable
    models: list[dict]
    messages: list[str]
    acquisition_warnings: list[str] = field(default_factory=list)


def score_ensemble(
    settings: Evaluate,
    workdir: Path,
    data_overrides: dict[str, str],
    out: Path | None = None,
    labels_needed: bool = True,
) -> Ensemble:
    """Scores of `settings.runs` together.

    Without another split each run is scored on the one that it evaluated itself, and
    OUT/ensemble.json is written; with another split WORKDIR/ensemble.json is read.

    A run's own scores are kept in its folder, or, if that cannot be written, below OUT.

    Args:
      settings: names the runs.
      workdir: the ensemble's folder.
      out: the folder of what is written; None: `workdir`.
      data_overrides: fields of the runs' sections `data` that are other than in training:
        `data_dir`, `name`, `eval_split`.
      labels_needed: whether images without labels are refused; without another split they always
        are.

    Raises:
      InputError: a folder without a run, runs that do not go together, or no ensemble.json of these
        runs.
    """
    if (workdir / "config.json").is_file():
        raise InputError(
            f"--workdir={workdir} is the folder of a run; give the ensemble one of its own"
        )
    out = out or workdir
    configs = _read_configs(settings, data_overrides)
    fitted = None
    if "eval_split" in data_overrides:
        fitted = FittedEnsemble(workdir / FILE_NAME, list(configs))
    else:
        _check_held_out(configs)
    members = _score_members(configs, out, labels_needed or fitted is None)
    if fitted is None:
        _check_not_learned(members)
    _check_labels(members)
    models = _group_by_model(members)
    tables = [average_tables([member.table for member in model]) for model in models]
    matched = match_images(tables)
    if fitted is None:
        ensemble = _fit(settings, out, models, matched)
    else:
        ensemble = _apply(fitted, models, matched)
    warnings = [line for member in members for line in member.acquisition_warnings]
    ensemble = replace(ensemble, acquisition_warnings=warnings)
    if all(member.table.labels_known for member in members):
        save(out / "scores" / f"{ensemble.table.split}.npz", ensemble.table)

    used = len(ensemble.table.ids)
    most = max(len(table.ids) for table in tables)
    if used < most:
        left_out = f"{used} images that every model has scored, of {most}"
        ensemble = replace(ensemble, messages=[left_out, *ensemble.messages])
    return ensemble


def _read_configs(settings: Evaluate, data_overrides: dict[str, str]) -> dict[str, Config]:
    """Each run's folder and own configuration, with what this call sets of data and evaluation."""
    configs = {}
    resolved = set()
    for folder in listed(settings.runs):
        path = Path(folder).resolve()
        if path in resolved:
            raise InputError(f"config.evaluate.runs={settings.runs!r} names {folder} twice")
        resolved.add(path)
        trained = read_config(Path(folder))
        if is_single_label(trained.train.loss):
            raise InputError(
                f"config.evaluate.runs: {folder} has learnt one label for each image "
                f"(config.train.loss={trained.train.loss!r}), and an ensemble's weights and "
                "thresholds are fitted for several; evaluate it by itself"
            )
        # The channel statistics stay those of the dataset trained on, if another one is scored.
        sources = trained.data.sources or (trained.data.name,)
        data = replace(trained.data, sources=sources, **data_overrides)
        configs[folder] = replace(trained, data=data, evaluate=replace(settings, runs=""))
    return configs


def _check_held_out(configs: dict[str, Config]) -> None:
    for folder, config in configs.items():
        trained_on = config.data.train_split
        evaluated_on = config.data.eval_split
        if trained_on in ("all", evaluated_on) or evaluated_on == "all":
            raise InputError(
                f"{folder} was trained on {trained_on!r} and evaluated on {evaluated_on!r}: "
                "weights and thresholds must not be fitted on images that a run was trained on; "
                "leave that run out"
            )


def _score_members(configs: dict[str, Config], out: Path, labels_needed: bool) -> list[Member]:
    members = []
    for folder, config in configs.items():
        predictor = Predictor(config, Path(folder))
        kept = SplitScores(predictor, scores_folder(Path(folder), out))
        sources = listed(config.evaluate.sources)
        table = kept.table(config.data.eval_split, sources, labels_needed)
        held_out = check_held_out(Path(folder), config.data.data_dir, table)
        held_out.print_warnings()
        unlike = predictor.acquisition_warnings(table.source_names)
        members.append(Member(folder, config, table, held_out, unlike))
    return members


def _check_not_learned(members: list[Member]) -> None:
    """As `_check_held_out`, by the images themselves."""
    for member in members:
        if member.held_out.learned_images:
            raise InputError(
                f"{member.folder} has learnt from {member.held_out.learned_images} of the images "
                "that weights and thresholds would be fitted on; evaluate it with the dataset that "
                "it was trained with, or leave that run out"
            )


def _check_labels(members: list[Member]) -> None:
    """Refuses runs of other labels, by their names: ids of two vocabularies do not compare."""
    first = members[0]
    for member in members:
        table = member.table
        if table.label_names == first.table.label_names:
            continue
        raise InputError(
            f"{member.folder} has learnt {_describe_labels(member)}, and {first.folder} "
            f"{_describe_labels(first)}: runs of one ensemble must have the same labels in the "
            "same order; leave one of them out"
        )


def _describe_labels(member: Member) -> str:
    """For instance: 9 labels of hpa2018 (Nucleoplasm, Nuclear membrane, Nucleoli, ...)."""
    names = member.table.label_names
    listed = ", ".join(names[:_NAMED_LABELS])
    if len(names) > _NAMED_LABELS:
        listed += ", ..."
    vocabulary = member.config.data.named_vocabulary().name
    return f"{len(names)} labels of {vocabulary} ({listed})"


def _group_by_model(members: list[Member]) -> list[list[Member]]:
    """The runs of each model, in the order in which they are named."""
    models: list[list[Member]] = []
    recipes = []
    for member in members:
        recipe = _recipe(member.config)
        if recipe in recipes:
            models[recipes.index(recipe)].append(member)
        else:
            recipes.append(recipe)
            models.append([member])
    return models


def _recipe(config: Config) -> dict:
    """All of a configuration that makes a model: equal for runs of one model."""
    recipe = {}
    values = to_dict(config)
    for section in _SECTIONS:
        for name, value in values[section].items():
            if name not in _OF_ONE_RUN.get(section, ()):
                recipe[section, name] = value
    return recipe


def _fit(
    settings: Evaluate, out: Path, models: list[list[Member]], tables: list[ScoreTable]
) -> Ensemble:
    """Fits weights and thresholds on held-out images and writes ensemble.json."""
    first = tables[0]
    targets = first.targets
    scores = np.stack([table.scores for table in tables])
    folds = {"folds": settings.folds, "seed": settings.seed, "groups": first.groups}
    crossfit_settings = {**folds, "few_positives": settings.few_positives}
    weights = stacking.fit_weights(scores, targets)
    # The thresholds are for other images, which are scored with the weights fitted on all of these.
    averaged = stacking.weighted_mean(scores, weights)
    thresholds = crossfit(averaged, targets, **crossfit_settings)["thresholds"]
    crossfit_scores, weights_by_fold = stacking.crossfit_mean(scores, targets, **folds)

    described = []
    messages = []
    for model, table, weight in zip(models, tables, weights, strict=True):
        alone = crossfit(table.scores, targets, **crossfit_settings)["crossfit"]
        config = model[0].config
        description = {
            "name": f"{config.model.name}, {config.data.image_size} px",
            "weight": float(weight),
            "macro_f1_crossfit": alone["macro_f1"],
            "runs": [_describe(member) for member in model],
        }
        described.append(description)
        folders = ", ".join(member.folder for member in model)
        messages.append(
            f"weight {weight:.3f}: {description['name']}, {folders}; "
            f"alone macro F1 {alone['macro_f1']:.4f} cross-fitted"
        )

    split = models[0][0].config.data.eval_split
    path = out / FILE_NAME
    content = {
        "models": described,
        "weights_by_fold": weights_by_fold.tolist(),
        "fitted_on": split,
        "fields": len(first.ids),
        "views": first.tta,
        "few_positives": settings.few_positives,
        "thresholds": dict(zip(first.label_names, thresholds.tolist(), strict=True)),
    }
    write_json(path, sealed(content))
    messages.append(f"wrote {path}")
    table = replace(
        first,
        scores=crossfit_scores,
        thresholds=thresholds,
        thresholds_split=split,
        checkpoint=-1,
        key="",
    )
    return Ensemble(table, described, messages)


def _describe(member: Member) -> dict:
    """What ensemble.json records of a run."""
    table = member.table
    return {
        "folder": member.folder,
        "fold": member.config.data.fold,
        "seed": member.config.train.seed,
        "checkpoint": table.checkpoint,
        "fields": len(table.ids),
        "macro_f1": classification.macro_f1(table.scores > 0.5, table.targets > 0),
        **member.held_out.to_dict(),
    }


def _apply(
    fitted: FittedEnsemble, models: list[list[Member]], tables: list[ScoreTable]
) -> Ensemble:
    """The kept weights and thresholds on another split."""
    weights = []
    for model in models:
        for member in model:
            fitted.check_table(member.folder, member.table)
        weights.append(fitted.weight_of(model[0].folder))
    first = tables[0]
    scores = np.stack([table.scores for table in tables])
    table = replace(
        first,
        scores=stacking.weighted_mean(scores, np.array(weights)),
        thresholds=fitted.thresholds_of(first.label_names),
        thresholds_split=fitted.split,
        checkpoint=-1,
        key="",
    )
    return Ensemble(table, fitted.models, [])
