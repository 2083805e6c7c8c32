"""A predictor's scores of the splits of datasets, which are kept and used again.

A table in the run's folder, or in that of what is written, is used again where it follows from the
same checkpoint, data and test-time augmentation (`ScoreTable.key`).
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import hpa_jax
from hpa_jax.config import Config, Data, to_dict
from hpa_jax.data import catalog, label_map, pipeline
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.identity import count_known
from hpa_jax.data.loader import eval_batches
from hpa_jax.environment.dataset_names import bare_name
from hpa_jax.errors import InputError, RunStopped
from hpa_jax.evaluation import score_table, tta
from hpa_jax.evaluation.common_labels import CommonLabels
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.files import check_writable
from hpa_jax.labels import HPA_2018, Vocabulary
from hpa_jax.metrics.crossfitting import crossfit
from hpa_jax.transforms import normalize
from hpa_jax.workdir import read_learned_ids


class SplitScores:
    """Scores of whole splits by one predictor.

    Attributes:
      predictor: that scores what is not kept.

    Args:
      predictor: as above.
      out: the folder of what is written: new scores, OUT/scores/SPLIT.npz. None: the run's.
    """

    def __init__(self, predictor: Predictor, out: Path | None = None):
        self.predictor = predictor
        self._out = out or predictor.workdir

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
        names = self._dataset_names(sources)
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
        self.predictor.check_scores(scores, ids)
        # Scoring may have chosen another checkpoint.
        key = self._key(configs, split, datasets)
        table = self._with_thresholds(self._make_table(names, datasets, split, scores, key))
        if table.labels_known:
            score_table.save(self._out / "scores" / f"{split}.npz", table)
        return table

    def common_table(
        self, split: str, sources: Sequence[str], given: str
    ) -> tuple[ScoreTable, CommonLabels]:
        """The scores of a split of data of another vocabulary, for the labels that are common.

        They are not kept: they are no scores of the net's own labels. There are no thresholds
        either, since those of the net are for its own labels.

        Args:
          split: of the datasets.
          sources: as of `table`.
          given: config.evaluate.label_map.

        Raises:
          InputError: as of `table`; the net decides for one label of its own; the datasets have
            several vocabularies; as of `label_map.make_map`.
        """
        if self.predictor.single_label:
            raise InputError(
                f"config.evaluate.label_map={given}: {self.predictor.workdir} has learnt one label "
                "for each image, whose probabilities say nothing about labels that are left out; "
                "evaluate it on data of its own labels"
            )
        names = self._dataset_names(sources)
        configs = self._configs(names)
        vocabulary = _one_vocabulary([config.data for config in configs])
        datasets = []
        for config in configs:
            own = dataclasses.replace(config.data, vocabulary=vocabulary.labels, labels=())
            datasets.append(pipeline.open_split(own, split))
        net = self.predictor.config.data.named_vocabulary()
        found = label_map.make_map(given, net, self.predictor.labels, vocabulary)
        self._print_notes(names, datasets)
        scores = self._score(configs, datasets)
        self.predictor.check_scores(scores, [one for each in datasets for one in each.ids()])
        table = self._make_table(names, datasets, split, scores, key="")
        common = CommonLabels(given, net, vocabulary, found, found.bare_images(table.targets))
        return dataclasses.replace(
            table,
            scores=found.scores(table.scores, exclusive=table.single_label),
            targets=found.targets(table.targets),
            label_ids=tuple(range(len(found.common))),
            label_names=found.names,
            thresholds=np.full(len(found.common), 0.5),
            thresholds_split="",
        ), common

    def _make_table(
        self,
        names: tuple[str, ...],
        datasets: list[ImageDataset],
        split: str,
        scores: np.ndarray,
        key: str,
    ) -> ScoreTable:
        return ScoreTable(
            ids=[image_id for dataset in datasets for image_id in dataset.ids()],
            original_ids=[image for dataset in datasets for image in dataset.original_ids()],
            scores=scores,
            targets=np.concatenate([dataset.targets() for dataset in datasets]),
            groups=_distinct_groups([dataset.groups() for dataset in datasets]),
            folds=np.concatenate([dataset.folds() for dataset in datasets]),
            source=_source_numbers(datasets),
            source_names=names,
            label_ids=self.predictor.label_ids,
            label_names=self.predictor.labels,
            split=split,
            checkpoint=self.predictor.step,
            tta=self.predictor.tta,
            key=key,
            thresholds=self.predictor.thresholds,
            labels_known=all(dataset.labels_known() for dataset in datasets),
            single_label=self.predictor.single_label,
        )

    def _dataset_names(self, sources: Sequence[str]) -> tuple[str, ...]:
        """The datasets that are asked for, each of the version that the run has used."""
        names = tuple(sources) or (self.predictor.config.data.name,)
        if len(set(names)) < len(names):
            raise InputError(f"config.evaluate.sources={','.join(names)!r} names a dataset twice")
        return tuple(self._choose_version(name) for name in names)

    def _choose_version(self, name: str) -> str:
        record = self.predictor.record
        data_dir = self.predictor.config.data.data_dir
        return pipeline.choose_version(data_dir, name, record.datasets, record.images)

    def _print_notes(self, names: Sequence[str], datasets: list[ImageDataset]) -> None:
        """Says where the images are not as those that the run was trained on, or are resized."""
        for warning in self.predictor.acquisition_warnings(names):
            print(f"warning: {warning}", file=sys.stderr)
        for name, dataset in zip(names, datasets, strict=True):
            note = dataset.shape_note(name)
            if note:
                print(note)

    def _scores_paths(self, split: str) -> list[Path]:
        """Where scores of a split may be kept, each file once."""
        folders = dict.fromkeys((self._out, self.predictor.workdir))
        return [folder / "scores" / f"{split}.npz" for folder in folders]

    def _with_thresholds(self, table: ScoreTable) -> ScoreTable:
        """The table with the thresholds that go with its test-time augmentation.

        The checkpoint's are of complete images. Where the split that they were fitted on has been
        scored under another augmentation (`table`, or what the run's folder holds), they are fitted
        anew on those scores.
        """
        split = self.predictor.thresholds_split
        stored = dataclasses.replace(
            table, thresholds=self.predictor.thresholds, thresholds_split=split or ""
        )
        if self.predictor.tta == tta.PLAIN or not split or table.single_label:
            return stored
        fitted_on = table
        if table.split != split or not table.labels_known:
            fitted_on = self.stored(split)
        if fitted_on is None:
            print(
                f"the thresholds were fitted without test-time augmentation; evaluate {split} "
                "with the same settings to have them fitted with it"
            )
            return stored
        found = crossfit(
            fitted_on.scores,
            fitted_on.targets,
            few_positives=self.predictor.config.evaluate.few_positives,
            mesh=self.predictor.mesh,
        )
        return dataclasses.replace(stored, thresholds=found["thresholds"])

    def stored(self, split: str) -> ScoreTable | None:
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
            data = dataclasses.replace(self.predictor.config.data, name=name)
            configs.append(dataclasses.replace(self.predictor.config, data=data))
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
            "checkpoint": [self.predictor.step, self.predictor.written],
            "model": to_dict(self.predictor.config)["model"],
            "image_size": self.predictor.image_size,
            "labels": self.predictor.label_ids,
            "tta": self.predictor.tta,
            "split": split,
            "sources": sources,
        }
        # Where these are what they always were, scores of older versions are used again.
        if self.predictor.config.data.named_vocabulary() != HPA_2018:
            facts["label_names"] = self.predictor.labels
        if self.predictor.config.data.aspect != "stretch" and any(
            dataset.shape_note("") for dataset in datasets
        ):
            facts["aspect"] = self.predictor.config.data.aspect
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _score(self, configs: list[Config], datasets: list[ImageDataset]) -> np.ndarray:
        """Scores `float32 [N, L]` of all images of all datasets, in their order."""
        total = sum(len(dataset) for dataset in datasets)
        bar = tqdm(total=total, unit="image", desc="score", dynamic_ncols=True, disable=None)
        scores = []
        with bar:
            for config, dataset in zip(configs, datasets, strict=True):
                votes = self._votes_count(config, dataset)
                score_batch = self.predictor.make_scorer(config, votes=votes)
                batches = eval_batches(
                    dataset, batch_size=config.data.batch_size, threads=config.data.threads
                )
                for batch in batches:
                    scores.append(score_batch(batch["image"])[batch["mask"]])
                    bar.update(int(batch["mask"].sum()))
        return np.concatenate(scores)

    def _votes_count(self, config: Config, dataset: ImageDataset) -> bool:
        """Whether neighbours vote: not on images that may be in the bank, or beside their group."""
        if not config.fusion.images:
            return True
        learned = read_learned_ids(self.predictor.workdir)
        known = count_known(dataset.ids(), learned)
        if not known:
            return True
        print(
            f"{config.data.name}: the run has learnt from {known} of these {len(dataset)} images; "
            "their neighbours would be themselves and their own group, so that no votes are "
            "counted here"
        )
        return False


def scores_folder(run: Path, out: Path) -> Path:
    """Where the scores of one of several runs are kept: in its folder, else below `out`."""
    try:
        check_writable(run, "")
    except (InputError, RunStopped):
        return out / "runs" / run.resolve().name
    return run


def _one_vocabulary(sections: Sequence[Data]) -> Vocabulary:
    """The vocabulary of all the datasets.

    Raises:
      InputError: they have several.
    """
    first, *others = [catalog.read_vocabulary(data.data_dir, data.name) for data in sections]
    for data, other in zip(sections[1:], others, strict=True):
        if other.labels != first.labels:
            raise InputError(
                f"config.evaluate.sources: {sections[0].name} has the labels of {first.name}, and "
                f"{data.name} those of {other.name}; evaluate on each alone"
            )
    return first


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
