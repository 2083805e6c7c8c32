"""The mode `probe`: embeddings, fits on each kind of features, probe.json and a table."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hpa_jax.config import Config, Data, Probe
from hpa_jax.data.identity import count_known
from hpa_jax.errors import InputError
from hpa_jax.files import write_json
from hpa_jax.metrics.summary import check_bootstrap
from hpa_jax.probe import protocol, scoring
from hpa_jax.probe.console import format_table
from hpa_jax.probe.embedders import of_export, of_run, open_run
from hpa_jax.probe.examples import (
    EMBEDDING,
    TEST,
    TRAIN,
    VALIDATION,
    Examples,
    check_examples,
    standardized,
)
from hpa_jax.probe.files import read_examples
from hpa_jax.probe.fit import fit, scores_of
from hpa_jax.probe.images import Embedded, embed_splits
from hpa_jax.serving import load
from hpa_jax.workdir import read_learned_ids


def probe(config: Config, workdir: Path, out: Path | None = None) -> None:
    """Probes what the section `probe` names, or the run in `workdir`.

    Writes OUT/probe.json and prints a table.

    Args:
      config: of the run, or of this call.
      workdir: the run's folder, where a run is probed.
      out: the folder of what is written; None: `workdir`.

    Raises:
      InputError: no such run, export, dataset, split or array; or nothing to fit on.
    """
    settings = config.probe
    check_bootstrap(config.evaluate.replicates, config.evaluate.level)
    if settings.embeddings and settings.export:
        raise InputError("config.probe.embeddings and config.probe.export are both given; give one")
    if not settings.embeddings:
        _refuse_arrays(settings)
    facts = {}
    if settings.embeddings:
        facts["of"] = settings.embeddings
        examples = read_examples(settings)
    elif settings.export:
        facts["of"] = settings.export
        examples = _embed_with_export(config).examples
        facts |= _dataset_facts(config)
    else:
        facts["of"] = str(workdir)
        run = open_run(config, workdir)
        embedded = _embed(run.config.data, config, of_run(run, config.probe.seed))
        examples = embedded.examples
        facts |= _dataset_facts(config) | {"checkpoint": run.step}
        facts |= _learned(embedded, workdir)
    check_examples(examples)
    report = facts | _report(examples, config)
    path = (out or workdir) / "probe.json"
    write_json(path, report)
    print(f"{format_table(report)}\nwrote {path}")


def _refuse_arrays(settings: Probe) -> None:
    """Refuses arrays that nothing would be done with."""
    for name in ("targets", "groups", "splits", "labels"):
        value = getattr(settings, name)
        if value:
            raise InputError(
                f"config.probe.{name}={value} goes with config.probe.embeddings, which is not "
                "given; a dataset has its own"
            )


def _dataset_facts(config: Config) -> dict:
    data = config.data
    return {
        "dataset": data.name,
        "splits": [data.train_split, data.eval_split, config.probe.split],
    }


def _embed_with_export(config: Config) -> Embedded:
    served = load(config.probe.export)
    embedders = of_export(served, config.data.batch_size, config.probe.seed)
    size = served.description["input"]["shape"][1]
    prepared = served.description.get("preparation") or {}
    aspect = config.data.aspect or prepared.get("aspect", "")
    return _embed(
        dataclasses.replace(config.data, image_size=size, aspect=aspect), config, embedders
    )


def _embed(data: Data, config: Config, embedders) -> Embedded:
    # The labels are the dataset's own, whichever the net has learnt.
    data = dataclasses.replace(data, labels=(), vocabulary=())
    splits = (data.train_split, data.eval_split, config.probe.split)
    return embed_splits(data, splits, embedders)


def _learned(embedded: Embedded, workdir: Path) -> dict:
    """How many of the test images the run itself has learnt from."""
    try:
        learned = read_learned_ids(workdir)
    except InputError as error:
        _warn(f"how many images {workdir} has learnt from cannot be told: {error}")
        return {}
    if learned is None:
        return {}
    is_test = embedded.examples.splits == TEST
    ids = [image_id for image_id, test in zip(embedded.ids, is_test, strict=True) if test]
    count = count_known(ids, learned)
    if count:
        _warn(
            f"{workdir} has learnt from {count} of the {len(ids)} test images (by their Ids): on "
            "them its embedding says nothing about new images"
        )
    return {"learned_images": count}


def _report(examples: Examples, config: Config) -> dict:
    settings = config.probe
    level = config.evaluate.level
    test = examples.splits == TEST
    targets = examples.targets[test]
    groups = examples.groups[test]
    divided = examples.divided_groups()
    _warn_of(examples, divided)
    replicates = config.evaluate.replicates
    if replicates and len(np.unique(groups)) == 1:
        _warn("all test images are of one group: how far others would differ cannot be told")
        replicates = 0
    rows = []
    scored = {}
    for kind, features in examples.features.items():
        fits, scores = _fit_seeds(features, examples, settings, kind)
        scored[kind] = scoring.score(
            scores, targets, groups, replicates=replicates, seed=settings.seed
        )
        row = {"features": kind, "size": features.shape[1]}
        row |= scoring.metrics_json(scored[kind], level) | {"fits": fits}
        if kind != EMBEDDING:
            found = scoring.difference_json(scored[EMBEDDING], scored[kind], level)
            row["embedding_less_this"] = found
        rows.append(row)
    return {
        "images": examples.counts(),
        "groups": len(set(groups.tolist())),
        "divided_groups": divided,
        "labels": len(examples.label_names),
        "protocol": _protocol(settings),
        "guessing": scoring.guessing(targets),
        "replicates": replicates,
        "level": level,
        "rows": rows,
        "per_label": scoring.labels_json(scored, targets, examples.label_names, level),
    }


def _warn_of(examples: Examples, divided_groups: int) -> None:
    if divided_groups:
        _warn(
            f"groups with test images and images to fit on or to choose with: {divided_groups}; "
            "images of a group are alike, so all these figures flatter"
        )
    never_fitted = examples.labels_without(TRAIN)
    if never_fitted:
        _warn(
            f"labels of test images that no image to fit on has: {', '.join(never_fitted)}; "
            "the means hold what chance gave them"
        )


def _fit_seeds(features, examples: Examples, settings: Probe, kind: str) -> tuple[list[dict], list]:
    """What is recorded of the fit of each seed, and its scores of the test rows."""
    if settings.standardize:
        features = standardized(features, examples.splits)
    train = examples.splits == TRAIN
    validation = examples.splits == VALIDATION
    fits = []
    scores = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        title = f"fit {kind}, seed {seed}"
        with tqdm(total=settings.epochs, unit="epoch", desc=title, disable=None) as bar:

            def show(score: float, bar=bar) -> None:
                bar.set_postfix_str(f"validation {score:.3f}")
                bar.update()

            found = fit(
                features[train],
                examples.targets[train],
                features[validation],
                examples.targets[validation],
                learning_rate=settings.lr,
                batch_size=settings.batch_size,
                epochs=settings.epochs,
                seed=seed,
                after_epoch=show,
            )
        if found.epoch == settings.epochs:
            _warn(
                f"the fit on {kind} was still improving in its last epoch ({found.updates} "
                "updates): it may know more; give more config.probe.epochs, or a smaller "
                "config.probe.batch_size"
            )
        fits.append(
            {
                "seed": seed,
                "epoch": found.epoch,
                "epochs": found.epochs,
                "updates": found.updates,
                "validation_macro_average_precision": found.validation_score,
            }
        )
        scores.append(scores_of(found.layers, features[examples.splits == TEST]))
    return fits, scores


def _protocol(settings: Probe) -> dict:
    return {
        "hidden": list(protocol.HIDDEN),
        "dropout": protocol.DROPOUT,
        "focal_alpha": protocol.FOCAL_ALPHA,
        "focal_gamma": protocol.FOCAL_GAMMA,
        "weight_decay": protocol.WEIGHT_DECAY,
        "plateau_patience": protocol.PLATEAU_PATIENCE,
        "plateau_factor": protocol.PLATEAU_FACTOR,
        "stop_after": protocol.STOP_AFTER,
        "lr": settings.lr,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "seeds": settings.seeds,
        "standardize": settings.standardize,
    }


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
