"""A checkpoint of a run that scores fields: what evaluating, predicting and exporting begin with.

Unusual: the net is built and the checkpoint read only when something is to be scored. Where a table of scores follows
from the same checkpoint, data and views as the one that is asked for (`key`), it is read instead.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

import hpa_jax
from hpa_jax.config import Config, to_dict
from hpa_jax.data import pipeline
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.loader import eval_batches
from hpa_jax.errors import InputError
from hpa_jax.evaluation import score_table, tta
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.metrics import thresholds
from hpa_jax.parallel.mesh import batch_sharding, put_batch
from hpa_jax.training import experiment
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.state import eval_variables
from hpa_jax.training.steps import make_score_step
from hpa_jax.transforms import normalize


class Predictor:
    """A checkpoint of a run, ready to score fields.

    Attributes:
      step: of the checkpoint.
      thresholds: float `[L]`, fitted on `thresholds_split`; 0.5 where the checkpoint was saved without an evaluation.
      thresholds_split: the part they were fitted on, or None.
      views: how fields are looked at, in words (hpa_jax.evaluation.tta.describe).
    """

    def __init__(self, config: Config, workdir: Path):
        self.config, self.mesh, self._workdir = config, experiment.make_mesh(config), workdir
        self._view_settings = {
            name: getattr(config.evaluate, name)
            for name in ("tta", "crops", "crop_side", "combine")
        }
        self.views = tta.describe(**self._view_settings)
        checkpoints = self._checkpoints()
        self.step = checkpoints.choose(config.evaluate.checkpoint)
        figures, self._written = checkpoints.figures(self.step), checkpoints.written(self.step)
        checkpoints.close()
        self.thresholds = np.array(figures.get("thresholds", [0.5] * len(config.label_ids())))
        self.thresholds_split = figures.get("thresholds_split")

    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self._workdir / "checkpoints", metric=self.config.checkpoint.metric)

    @cached_property
    def variables(self) -> dict:
        """`{'params', 'batch_stats'}` on the devices: the averaged weights where the run kept them."""
        checkpoints = self._checkpoints()
        state, _ = experiment.abstract_state(self.config, self.mesh, steps=0)
        state = checkpoints.restore(self.step, state.replace(opt_state=None))
        checkpoints.close()
        return eval_variables(state)

    def table(self, split: str, sources: Sequence[str] = ()) -> ScoreTable:
        """The scores of a part of each of `sources` (default: config.data.name), taken from the run's folder if there.

        What has to be scored is kept there, as WORKDIR/scores/SPLIT.npz.
        """
        names = tuple(sources) or (self.config.data.name,)
        if len(set(names)) < len(names):
            raise InputError(f"config.evaluate.sources={','.join(names)!r} names a dataset twice")
        path, configs = self._workdir / "scores" / f"{split}.npz", self._configs(names)
        parts = [pipeline.open_split(config.data, split) for config in configs]
        key = self._key(configs, split, parts)
        kept = _read(path)
        if kept is not None and kept.key == key:
            print(f"scores of {path}: checkpoint, data and views are the same")
            return dataclasses.replace(kept, **self.fitted(kept))
        with tqdm(
            total=sum(map(len, parts)), unit="field", desc="score", dynamic_ncols=True, disable=None
        ) as bar:
            scores = [
                self._score(config, fields, bar)
                for config, fields in zip(configs, parts, strict=True)
            ]
        source = np.repeat(np.arange(len(parts), dtype=np.int32), list(map(len, parts)))
        table = ScoreTable(
            ids=[field_id for fields in parts for field_id in fields.ids()],
            scores=np.concatenate(scores),
            targets=np.concatenate([fields.targets() for fields in parts]),
            groups=_groups([fields.groups() for fields in parts]),
            folds=np.concatenate([fields.folds() for fields in parts]),
            source=source,
            source_names=names,
            label_ids=self.config.label_ids(),
            split=split,
            checkpoint=self.step,
            views=self.views,
            key=key,
            thresholds=self.thresholds,
        )
        table = dataclasses.replace(table, **self.fitted(table))
        score_table.save(path, table)
        return table

    def fitted(self, table: ScoreTable | None = None) -> dict:
        """`thresholds` and `thresholds_split` for scores of these views.

        The checkpoint's are of whole fields. Where the part that they were fitted on has been scored under other views
        (`table`, or what the run's folder holds), they are fitted anew on those scores.
        """
        split = self.thresholds_split
        stored = {"thresholds": self.thresholds, "thresholds_split": split or ""}
        if self.views == tta.PLAIN or not split:
            return stored
        if table is None or table.split != split:
            table = self._scored_before(split)
        if table is None:
            print(
                f"the thresholds are of whole fields; evaluate {split} with these views to have them fitted on those"
            )
            return stored
        few = self.config.evaluate.few_positives
        own = thresholds.crossfit(table.scores, table.targets, few_positives=few, mesh=self.mesh)[
            "thresholds"
        ]
        return {"thresholds": own, "thresholds_split": split}

    def _scored_before(self, split: str) -> ScoreTable | None:
        """The run's scores of a part, of whichever datasets, if they are of this checkpoint and these views."""
        table = _read(self._workdir / "scores" / f"{split}.npz")
        if table is None:
            return None
        configs = self._configs(table.source_names)
        with contextlib.suppress(InputError):  # the data may be gone
            parts = [pipeline.open_split(config.data, split) for config in configs]
            return table if table.key == self._key(configs, split, parts) else None
        return None

    def _configs(self, names: Sequence[str]) -> list[Config]:
        """The configuration with each dataset as the one that is looked at."""
        config = self.config
        return [
            dataclasses.replace(config, data=dataclasses.replace(config.data, name=name))
            for name in names
        ]

    def _key(self, configs: list[Config], split: str, parts: list[ImageDataset]) -> str:
        """SHA-256 of all that the scores follow from but the machine they are computed on."""
        facts = {
            "version": hpa_jax.__version__,
            "checkpoint": [self.step, self._written],
            "model": to_dict(self.config)["model"],
            "image_size": self.config.data.image_size,
            "labels": self.config.label_ids(),
            "views": self.views,
            "split": split,
            "sources": [
                [
                    config.data.name,
                    config.data.fold,
                    fields.fingerprint(),
                    normalize.preparation(config.data),
                ]
                for config, fields in zip(configs, parts, strict=True)
            ],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _score(self, config: Config, fields: ImageDataset, bar: tqdm) -> np.ndarray:
        """Scores `float32 [N, L]` of all fields, in their order."""
        model, preparation = experiment.make_model(config), normalize.preparation(config.data)
        score_step = make_score_step(model, preparation=preparation, mesh=self.mesh)
        view_score = tta.make_tta_score_step(score_step, **self._view_settings)
        score = jax.jit(view_score, out_shardings=batch_sharding(self.mesh))
        scores = []
        for batch in eval_batches(
            fields, batch_size=config.data.batch_size, threads=config.data.threads
        ):
            images = put_batch({"image": batch["image"]}, self.mesh)["image"]
            scores.append(np.asarray(score(self.variables, images))[batch["mask"]])
            bar.update(int(batch["mask"].sum()))
        return np.concatenate(scores)


def _read(path: Path) -> ScoreTable | None:
    """The table in a file; None where there is none, or where it is damaged, which is said."""
    if not path.is_file():
        return None
    try:
        return score_table.load(path)
    except InputError as error:
        print(f"not used: {error}")
        return None


def _groups(groups: list[np.ndarray]) -> np.ndarray:
    """Groups of several sources under numbers of their own: the same number in two datasets is not the same group."""
    return np.concatenate(
        [g + (number << 32) for number, g in enumerate(groups)]
    )  # stored in 32 bits
