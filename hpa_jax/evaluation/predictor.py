"""A checkpoint of a run that scores images: what evaluating, predicting and exporting start from.

Notes:
- The net is built and the checkpoint read only when something is to be scored. A table of scores in
  the run's folder is used again where it follows from the same checkpoint, data and test-time
  augmentation (`ScoreTable.key`).
- The run may be training meanwhile (`ChosenCheckpoint`).
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

import hpa_jax
from hpa_jax.config import Config, to_dict
from hpa_jax.data import pipeline
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.loader import eval_batches
from hpa_jax.environment.dataset_names import bare_name
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError, RunStopped
from hpa_jax.evaluation import score_table, tta
from hpa_jax.evaluation.acquisition import acquisition_warnings, trained_preparations
from hpa_jax.evaluation.chosen_checkpoint import ChosenCheckpoint
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.files import check_writable
from hpa_jax.labels import CHANNELS, HPA_2018
from hpa_jax.metrics.crossfitting import crossfit
from hpa_jax.parallel import memory
from hpa_jax.parallel.mesh import batch_sharding, put_batch
from hpa_jax.training import components
from hpa_jax.training.state import eval_variables
from hpa_jax.training.steps import make_score_step
from hpa_jax.transforms import normalize
from hpa_jax.workdir import read_config, read_record


def load_run(workdir: Path | str, checkpoint: str | int = "best") -> "Predictor":
    """A finished or running training run, ready to score images.

        predictor = load_run("runs/best")
        scores = predictor(images)
        predicted = scores > predictor.thresholds

    Args:
      workdir: the run's folder.
      checkpoint: `best`, `latest` or a step.

    Returns:
      A `Predictor`; call it with images.

    Raises:
      InputError: the folder holds no run, or no such checkpoint.
    """
    workdir = local_path(workdir, "workdir")
    config = read_config(workdir)
    settings = dataclasses.replace(config.evaluate, checkpoint=str(checkpoint))
    return Predictor(dataclasses.replace(config, evaluate=settings), workdir)


class Predictor:
    """A checkpoint of a run, ready to score images.

    Attributes:
      step: of the checkpoint.
      written: tells the checkpoint from another one of that step; None if that cannot be told.
      labels: names of the L labels, in the order of the scores.
      label_ids: which labels of the run's vocabulary those are.
      image_size: side in px of the images that it takes.
      thresholds: float64 `[L]`, fitted on `thresholds_split`; 0.5 where the checkpoint was saved
        without an evaluation.
      thresholds_split: the split they were fitted on, or None.
      tta: the test-time augmentation, in words (`hpa_jax.evaluation.tta.describe`).
      mesh: of the devices.

    Args:
      config: of the run, resolved. Its section `evaluate` names the checkpoint and the test-time
        augmentation.
      workdir: the run's folder, which is only read.
      out: the folder of what is written: new scores, OUT/scores/SPLIT.npz. None: `workdir`.

    Raises:
      InputError: no such checkpoint, an unknown setting, or devices that cannot share the batches.
    """

    def __init__(self, config: Config, workdir: Path, out: Path | None = None):
        settings = config.evaluate
        self._tta_settings = {
            "tta": settings.tta,
            "crops": settings.crops,
            "crop_side": settings.crop_side,
            "combine": settings.combine,
        }
        self.tta = tta.describe(**self._tta_settings)
        self._record = read_record(workdir)
        data = pipeline.choose_versions(config.data, self._record.datasets, self._record.images)
        config = dataclasses.replace(config, data=data)
        self.config = config
        self.mesh = components.make_mesh(config.data, config.model, config.devices.space)
        self.label_ids = config.label_ids()
        self.labels = config.label_names()
        self.image_size = config.data.image_size
        self._workdir = workdir
        self._out = out or workdir
        self._checkpoint = ChosenCheckpoint(config, workdir)

    @property
    def step(self) -> int:
        return self._checkpoint.step

    @property
    def written(self) -> str | int | None:
        return self._checkpoint.written

    @property
    def thresholds(self) -> np.ndarray:
        without_evaluation = [0.5] * len(self.labels)
        return np.array(self._checkpoint.metrics.get("thresholds", without_evaluation))

    @property
    def thresholds_split(self) -> str | None:
        return self._checkpoint.metrics.get("thresholds_split")

    def __call__(self, images: np.ndarray | Iterable[np.ndarray]) -> np.ndarray:
        """Scores images, in batches of the run's size.

        Args:
          images: uint8 `[N, H, W, 4]` (red, green, blue, yellow), H = W = `image_size`, or any
            iterable of such images `[H, W, 4]`.

        Returns:
          float32 `[N, L]`, the probability of each label.

        Raises:
          InputError: an image of another type or shape, or scores that are not finite.
        """
        batch_size = self.config.data.batch_size
        remaining = iter(images)
        scores = [np.zeros((0, len(self.labels)), np.float32)]
        start = 0
        while batch := list(islice(remaining, batch_size)):
            for offset, image in enumerate(batch):
                self._check_image(image, start + offset)
            # One shape of batch means one compilation: the last one is filled up with black images.
            filled = np.zeros((batch_size, *batch[0].shape), np.uint8)
            filled[: len(batch)] = batch
            scores.append(self._score_batch(filled)[: len(batch)])
            start += len(batch)
        found = np.concatenate(scores)
        self._check_scores(found, [f"image {position}" for position in range(start)])
        return found

    def _check_image(self, image: np.ndarray, position: int) -> None:
        shape = (self.image_size, self.image_size, len(CHANNELS))
        if image.dtype != np.uint8 or image.shape != shape:
            raise InputError(
                f"image {position} is {image.dtype} {list(image.shape)}: this run takes uint8 "
                f"{list(shape)}; resize or convert it"
            )

    def _check_scores(self, scores: np.ndarray, names: Sequence[str]) -> None:
        """Refuses scores, float32 `[N, L]`, that are not numbers; `names` of the N images."""
        wrong = ~np.isfinite(scores)
        if not wrong.any():
            return
        images = wrong.any(axis=1)
        labels = [self.labels[i] for i in np.flatnonzero(wrong.any(axis=0))]
        first = names[int(np.argmax(images))]
        raise InputError(
            f"{self._workdir}: checkpoint {self.step} gives scores that are not finite for "
            f"{int(images.sum())} of {len(scores)} images, the first of them {first}, and for "
            f"{len(labels)} of {len(self.labels)} labels, the first of them {labels[0]}; nothing "
            "was written; choose another --config.evaluate.checkpoint"
        )

    @cached_property
    def _score_batch(self) -> Callable[[np.ndarray], np.ndarray]:
        return self._make_scorer(self.config)

    @cached_property
    def variables(self) -> dict:
        """`{'params', 'batch_stats'}` on the devices; the averaged ones if the run has them.

        Reading them may choose the checkpoint again, if it was removed meanwhile: what is said of
        it (`step`, `written`, the thresholds) is of the one that was read.
        """
        # What is None is not read: Adam's state is twice as large as the net.
        state = components.Setup(self.config, self.mesh).abstract_state().replace(opt_state=None)
        memory.rooms(self.mesh.devices.flat).check(
            "the net", memory.bytes_of(state), advice="it needs a machine with more memory"
        )
        return eval_variables(self._checkpoint.restore(state))

    def preparations(self) -> dict[str, dict]:
        """How the images were made that the run learns from (`trained_preparations`)."""
        return trained_preparations(self._workdir, self.config.data)

    def acquisition_warnings(self, names: Sequence[str]) -> list[str]:
        """A line for each way in which the images of datasets are not as the run knows them."""
        return acquisition_warnings(self._workdir, self.config.data, names)

    def table(
        self, split: str, sources: Sequence[str] = (), labels_needed: bool = True
    ) -> ScoreTable:
        """The scores of a split, read from the run's folder or from `out` if they are there.

        What has to be scored is kept in OUT/scores/SPLIT.npz.

        Args:
          split: of the datasets.
          sources: the datasets; default: `config.data.name`.
          labels_needed: whether images without labels are refused. The scores of such images are
            not kept, since nothing can be measured on them.

        Raises:
          InputError: no such dataset or split, a dataset that is named twice, or scores that are
            not finite.
        """
        names = tuple(sources) or (self.config.data.name,)
        if len(set(names)) < len(names):
            raise InputError(f"config.evaluate.sources={','.join(names)!r} names a dataset twice")
        names = tuple(self._choose_version(name) for name in names)
        configs = self._configs(names)
        datasets = []
        for config in configs:
            data = config.data
            datasets.append(pipeline.open_split(data, split, labels_needed=labels_needed))
        self._print_notes(names, datasets)
        key = self._key(configs, split, datasets)
        for path in self._scores_paths(split):
            stored = _read(path)
            if stored is not None and stored.key == key:
                print(f"scores of {path}: checkpoint, data and test-time augmentation are the same")
                return self._with_thresholds(stored)
        ids = [image_id for dataset in datasets for image_id in dataset.ids()]
        scores = self._score(configs, datasets)
        self._check_scores(scores, ids)
        # Scoring may have chosen another checkpoint.
        key = self._key(configs, split, datasets)
        table = ScoreTable(
            ids=ids,
            original_ids=[image for dataset in datasets for image in dataset.original_ids()],
            scores=scores,
            targets=np.concatenate([dataset.targets() for dataset in datasets]),
            groups=_distinct_groups([dataset.groups() for dataset in datasets]),
            folds=np.concatenate([dataset.folds() for dataset in datasets]),
            source=_source_numbers(datasets),
            source_names=names,
            label_ids=self.label_ids,
            label_names=self.labels,
            split=split,
            checkpoint=self.step,
            tta=self.tta,
            key=key,
            thresholds=self.thresholds,
            labels_known=all(dataset.labels_known() for dataset in datasets),
        )
        table = self._with_thresholds(table)
        if table.labels_known:
            score_table.save(self._out / "scores" / f"{split}.npz", table)
        return table

    def _choose_version(self, name: str) -> str:
        record = self._record
        data_dir = self.config.data.data_dir
        return pipeline.choose_version(data_dir, name, record.datasets, record.images)

    def _print_notes(self, names: Sequence[str], datasets: list[ImageDataset]) -> None:
        """Says where the images are not as those that the run was trained on, or are resized."""
        for warning in self.acquisition_warnings(names):
            print(f"warning: {warning}", file=sys.stderr)
        for name, dataset in zip(names, datasets, strict=True):
            note = dataset.shape_note(name)
            if note:
                print(note)

    def _scores_paths(self, split: str) -> list[Path]:
        """Where scores of a split may be kept, each file once."""
        folders = dict.fromkeys((self._out, self._workdir))
        return [folder / "scores" / f"{split}.npz" for folder in folders]

    def _with_thresholds(self, table: ScoreTable) -> ScoreTable:
        """The table with the thresholds that go with its test-time augmentation.

        The checkpoint's are of complete images. Where the split that they were fitted on has been
        scored under another augmentation (`table`, or what the run's folder holds), they are fitted
        anew on those scores.
        """
        split = self.thresholds_split
        stored = dataclasses.replace(
            table, thresholds=self.thresholds, thresholds_split=split or ""
        )
        if self.tta == tta.PLAIN or not split:
            return stored
        fitted_on = table
        if table.split != split or not table.labels_known:
            fitted_on = self.stored_table(split)
        if fitted_on is None:
            print(
                f"the thresholds were fitted without test-time augmentation; evaluate {split} "
                "with the same settings to have them fitted with it"
            )
            return stored
        found = crossfit(
            fitted_on.scores,
            fitted_on.targets,
            few_positives=self.config.evaluate.few_positives,
            mesh=self.mesh,
        )
        return dataclasses.replace(stored, thresholds=found["thresholds"])

    def stored_table(self, split: str) -> ScoreTable | None:
        """The run's scores of a split, of whichever datasets, of this checkpoint and augmentation.

        None where there are no such scores.
        """
        for path in self._scores_paths(split):
            table = _read(path)
            if table is not None and table.key == self._key_of(table, split):
                return table
        return None

    def _key_of(self, table: ScoreTable, split: str) -> str | None:
        """The key that the scores of the table's datasets have now; None if the data are gone."""
        configs = self._configs(table.source_names)
        try:
            datasets = [pipeline.open_split(config.data, split) for config in configs]
        except InputError:
            # The thresholds of the checkpoint remain.
            return None
        return self._key(configs, split, datasets)

    def _configs(self, names: Sequence[str]) -> list[Config]:
        """The configuration, with each of these datasets as the one that is read."""
        configs = []
        for name in names:
            data = dataclasses.replace(self.config.data, name=name)
            configs.append(dataclasses.replace(self.config, data=data))
        return configs

    def _key(self, configs: list[Config], split: str, datasets: list[ImageDataset]) -> str:
        """SHA-256 of all that the scores follow from except the machine that computes them."""
        sources = []
        for config, dataset in zip(configs, datasets, strict=True):
            preparation = normalize.preparation(config.data)
            name = bare_name(config.data.name)
            source = [name, config.data.fold, dataset.fingerprint(), preparation]
            sources.append(source)
        facts = {
            "version": hpa_jax.__version__,
            "checkpoint": [self.step, self.written],
            "model": to_dict(self.config)["model"],
            "image_size": self.image_size,
            "labels": self.label_ids,
            "tta": self.tta,
            "split": split,
            "sources": sources,
        }
        # Where these are what they always were, scores of older versions are used again.
        if self.config.data.named_vocabulary() != HPA_2018:
            facts["label_names"] = self.labels
        if self.config.data.aspect != "stretch" and any(
            dataset.shape_note("") for dataset in datasets
        ):
            facts["aspect"] = self.config.data.aspect
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _score(self, configs: list[Config], datasets: list[ImageDataset]) -> np.ndarray:
        """Scores `float32 [N, L]` of all images of all datasets, in their order."""
        total = sum(len(dataset) for dataset in datasets)
        bar = tqdm(total=total, unit="image", desc="score", dynamic_ncols=True, disable=None)
        scores = []
        with bar:
            for config, dataset in zip(configs, datasets, strict=True):
                score_batch = self._make_scorer(config)
                batches = eval_batches(
                    dataset, batch_size=config.data.batch_size, threads=config.data.threads
                )
                for batch in batches:
                    scores.append(score_batch(batch["image"])[batch["mask"]])
                    bar.update(int(batch["mask"].sum()))
        return np.concatenate(scores)

    def _make_scorer(self, config: Config) -> Callable[[np.ndarray], np.ndarray]:
        """A function of uint8 `[B, H, W, 4]` that returns scores `float32 [B, L]`.

        Args:
          config: `config.data.name` decides which channel statistics normalize the images.
        """
        model = components.make_model(config.model, len(config.label_ids()))
        preparation = normalize.preparation(config.data)
        score_step = make_score_step(model, preparation=preparation, mesh=self.mesh)
        tta_score_step = tta.make_tta_score_step(score_step, **self._tta_settings)
        jitted = jax.jit(tta_score_step, out_shardings=batch_sharding(self.mesh))
        program = None

        def score_batch(images: np.ndarray) -> np.ndarray:
            nonlocal program
            batch = put_batch({"image": images}, self.mesh)
            arguments = (self.variables, batch["image"])
            if program is None:
                program = memory.compile_within(
                    "scoring a batch",
                    jitted,
                    *arguments,
                    devices=self.mesh.devices.flat,
                    advice=memory.advice(config, "evaluate"),
                )
            return np.asarray(program(*arguments))

        return score_batch


def scores_folder(run: Path, out: Path) -> Path:
    """Where the scores of one of several runs are kept: in its folder, else below `out`."""
    try:
        check_writable(run, "")
    except (InputError, RunStopped):
        return out / "runs" / run.resolve().name
    return run


def _read(path: Path) -> ScoreTable | None:
    """The table in a file; None where there is none, or where it is damaged, with a message."""
    if not path.is_file():
        return None
    try:
        return score_table.load(path)
    except InputError as error:
        print(f"not used: {error}")
        return None


def _source_numbers(datasets: list[ImageDataset]) -> np.ndarray:
    """int32 [N]: the dataset of each image."""
    lengths = [len(dataset) for dataset in datasets]
    return np.repeat(np.arange(len(datasets), dtype=np.int32), lengths)


def _distinct_groups(groups: list[np.ndarray]) -> np.ndarray:
    """Groups of several sources: the same number in two datasets is not the same group."""
    # Datasets store a group in 32 bits; the bits above it are the source's.
    distinct = [group + (number << 32) for number, group in enumerate(groups)]
    return np.concatenate(distinct)
