"""The sections that show predictions: top errors, top true positives, and what the net saw.

Which images are shown follows from the scores alone: of equal scores the first in stored order.
Only these, some hundred, are decoded and looked at, in batches of the size that the run has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from tqdm import tqdm

from hpa_jax.data import pipeline
from hpa_jax.evaluation.grad_cam import make_grad_cam
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.labels import CHANNELS
from hpa_jax.parallel.mesh import put_batch
from hpa_jax.report.html import Section
from hpa_jax.report.pictures import PANELS, SIDE, WIDTH, data_uri, overlay_strip
from hpa_jax.report.run.load import Run
from hpa_jax.report.tables import Table
from hpa_jax.training import parts
from hpa_jax.transforms import normalize

MAX_ERRORS = 12
"""False positives shown, and as many false negatives."""
MAX_ERRORS_PER_LABEL = 3
"""At most so many of them of one label, so that one weak label does not fill the page."""
HITS_PER_LABEL = 4
"""True positives shown of each label."""


class Case(NamedTuple):
    """One label of one image.

    Attributes:
      image: row of the scores.
      label: column of the scores.
      score: 0 to 1.
      positive: whether the image has the label.
    """

    image: int
    label: int
    score: float
    positive: bool


class Gallery(NamedTuple):
    """The cases of a run, and a picture (data URI) of each."""

    false_positives: list[Case]
    false_negatives: list[Case]
    hits: list[list[Case]]
    pictures: dict[Case, Markup]

    def cases(self) -> list[Case]:
        """Returns all cases, each once."""
        cases = [*self.false_positives, *self.false_negatives]
        for of_label in self.hits:
            cases += of_label
        return list(dict.fromkeys(cases))


def choose_cases(run: Run) -> Gallery:
    """Chooses the cases to show, without pictures."""
    scores = run.table.scores
    targets = run.table.targets
    return Gallery(
        false_positives=top_false_positives(scores, targets, run.predicted),
        false_negatives=top_false_negatives(scores, targets, run.predicted),
        hits=top_true_positives(scores, targets),
        pictures={},
    )


def top_false_positives(
    scores: np.ndarray, targets: np.ndarray, predicted: np.ndarray, n: int = MAX_ERRORS
) -> list[Case]:
    """Returns the highest scores of predicted labels that their images do not have.

    Args:
      scores: float [N, L].
      targets: 0/1 [N, L].
      predicted: bool [N, L].
      n: how many at most.
    """
    is_error = predicted & (targets == 0)
    return _top_errors(np.where(is_error, scores, -1.0), scores, targets, n)


def top_false_negatives(
    scores: np.ndarray, targets: np.ndarray, predicted: np.ndarray, n: int = MAX_ERRORS
) -> list[Case]:
    """Returns the lowest scores of labels that their images have and that were not predicted."""
    is_error = ~predicted & (targets != 0)
    return _top_errors(np.where(is_error, 1.0 - scores, -1.0), scores, targets, n)


def top_true_positives(
    scores: np.ndarray, targets: np.ndarray, n: int = HITS_PER_LABEL
) -> list[list[Case]]:
    """Returns for each label the images that have it with the highest scores."""
    hits = []
    for label in range(scores.shape[1]):
        images = np.flatnonzero(targets[:, label])
        column = scores[:, label]
        best = images[np.argsort(-column[images], kind="stable")[:n]]
        hits.append([Case(int(image), label, float(column[image]), True) for image in best])
    return hits


def _top_errors(
    severity: np.ndarray, scores: np.ndarray, targets: np.ndarray, n: int
) -> list[Case]:
    """The n most severe, each image once and each label MAX_ERRORS_PER_LABEL times at most.

    What has a severity below 0 is no error.
    """
    cases = []
    images = set()
    of_label = np.zeros(severity.shape[1], int)
    for position in np.argsort(-severity, axis=None, kind="stable").tolist():
        image, label = divmod(position, severity.shape[1])
        if len(cases) == n or severity[image, label] < 0:
            break
        if image in images or of_label[label] == MAX_ERRORS_PER_LABEL:
            continue
        images.add(image)
        of_label[label] += 1
        positive = bool(targets[image, label])
        cases.append(Case(image, label, float(scores[image, label]), positive))
    return cases


def add_pictures(gallery: Gallery, run: Run, predictor: Predictor) -> Gallery:
    """Adds pictures: images read from the datasets, activation maps from the run's net.

    Args:
      gallery: without pictures.
      run: of the gallery.
      predictor: of the checkpoint that the run's scores are of.

    Raises:
      InputError: a dataset or a checkpoint is missing or damaged.
    """
    names = run.table.names()
    cases = gallery.cases()
    pictures = {}
    with tqdm(total=len(cases), unit=" images", desc="activation maps", disable=None) as progress:
        for source in run.table.source_names:
            of_source = [case for case in cases if names[case.image][0] == source]
            strips = _overlay_strips(predictor, run, source, of_source)
            for case, strip in zip(of_source, strips, strict=True):
                pictures[case] = data_uri(strip)
                progress.update()
    return gallery._replace(pictures=pictures)


def _overlay_strips(
    predictor: Predictor, run: Run, source: str, cases: Sequence[Case]
) -> Iterator[np.ndarray]:
    """Yields the strip of each case; their images are all in the dataset `source`."""
    # The name selects whose channel statistics normalize the images.
    config = replace(run.config, data=replace(run.config.data, name=source))
    dataset = pipeline.open_split(config.data, run.table.split, source)
    index_of = {image_id: i for i, image_id in enumerate(dataset.ids())}
    grad_cam = make_grad_cam(
        parts.make_net(config),
        preparation=normalize.preparation(config.data),
        mesh=predictor.mesh,
    )
    size = config.data.batch_size
    for start in range(0, len(cases), size):
        batch = cases[start : start + size]
        indices = [index_of[run.table.ids[case.image]] for case in batch]
        images = np.stack([dataset.image(index) for index in indices])
        labels = np.array([case.label for case in batch], np.int32)
        # Padded to the run's batch size, so that one compilation serves all batches.
        padding = [(0, size - len(batch))]
        arrays = {
            "image": np.pad(images, padding + [(0, 0)] * 3),
            "label": np.pad(labels, padding),
        }
        on_device = put_batch(arrays, predictor.mesh)
        heat, _ = grad_cam(predictor.variables, on_device["image"], on_device["label"])
        # The maps of the padding are left over.
        for image, one in zip(images, np.asarray(heat), strict=False):
            yield overlay_strip(image, one)


def mistakes_section(run: Run, gallery: Gallery) -> Section:
    """What was predicted surely and is not there; what is there and was surely not predicted."""
    data = _legend() | {
        "single_label": run.table.single_label,
        "false_positives": _shown(run, gallery, gallery.false_positives),
        "false_negatives": _shown(run, gallery, gallery.false_negatives),
    }
    title = "Top false positives and negatives"
    table = _gallery_table(run, gallery)
    return Section("mistakes", title, "run/mistakes.html", data, [table])


def hits_section(run: Run, gallery: Gallery) -> Section:
    """The images of each label with its highest scores."""
    support = (run.table.targets != 0).sum(axis=0)
    labels = []
    absent = []
    for column in run.by_support():
        name = run.labels()[column]
        if not support[column]:
            absent.append(name)
            continue
        cases = _shown(run, gallery, gallery.hits[column])
        labels.append((run.table.label_ids[column], name, support[column], cases))
    data = _legend() | {"labels": labels, "absent": absent, "per_label": HITS_PER_LABEL}
    return Section("hits", "Top true positives", "run/hits.html", data)


def _legend() -> dict[str, Any]:
    return {"panels": PANELS, "channels": CHANNELS, "width": WIDTH, "height": SIDE}


def _shown(run: Run, gallery: Gallery, cases: Sequence[Case]) -> list[dict[str, Any]]:
    names = run.labels()
    shown = []
    for case in cases:
        labels = [names[column] for column in np.flatnonzero(run.table.targets[case.image])]
        # A true positive's only label is named already.
        is_only_label = case.positive and len(labels) == 1
        label = names[case.label]
        image_id = run.table.original_ids[case.image]
        has = f"has {', '.join(labels) or 'no label'}"
        shown.append(
            {
                "uri": gallery.pictures[case],
                "description": f"{image_id}: {label} {case.score:.3f}; {has}",
                "id": image_id,
                "label": label,
                "score": case.score,
                "has": "" if is_only_label else has,
            }
        )
    return shown


def _gallery_table(run: Run, gallery: Gallery) -> Table:
    """The cases that are shown."""
    kinds = [("wrongly predicted", gallery.false_positives), ("missed", gallery.false_negatives)]
    kinds += [("best hit", cases) for cases in gallery.hits]
    names = run.table.names()
    labels = run.labels()
    rows = []
    for kind, cases in kinds:
        for rank, case in enumerate(cases, 1):
            rows.append([kind, rank, *names[case.image], labels[case.label], case.score])
    return Table("gallery", ("kind", "rank", "dataset", "id", "label", "score"), rows)
