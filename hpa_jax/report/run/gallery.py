"""The section of a run's page that shows fields: the surest mistakes and each label's best hits, with what the net saw.

Only the fields that are shown are decoded and looked at, some hundred, in batches of the size that the run has.
"""

import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from hpa_jax.data import pipeline
from hpa_jax.evaluation.grad_cam import make_grad_cam
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.labels import CHANNELS
from hpa_jax.parallel.mesh import put_batch
from hpa_jax.report.html import number, plural, text
from hpa_jax.report.overlays import PANELS, WIDTH, overlay_strip
from hpa_jax.report.pictures import SIDE, data_uri
from hpa_jax.report.run.cases import HITS, Case, best_hits, missed, wrongly_predicted
from hpa_jax.report.run.load import Run
from hpa_jax.report.tables import Table
from hpa_jax.training import experiment
from hpa_jax.transforms import normalize


class Gallery(NamedTuple):
    """Cases of a run, and a picture (data URI) of each."""

    wrong: list[Case]
    missed: list[Case]
    hits: list[list[Case]]
    pictures: dict[Case, str]

    def cases(self) -> list[Case]:
        """All of them, each once."""
        return list(
            dict.fromkeys(
                [*self.wrong, *self.missed, *(case for cases in self.hits for case in cases)]
            )
        )


def chosen(run: Run) -> Gallery:
    """The cases to show, without pictures."""
    arrays = run.table.scores, run.table.targets
    return Gallery(
        wrongly_predicted(*arrays, run.decided),
        missed(*arrays, run.decided),
        best_hits(*arrays),
        {},
    )


def pictured(gallery: Gallery, run: Run, workdir: Path) -> Gallery:
    """The same with pictures: fields read from the datasets, maps from the run's net.

    Raises InputError: a dataset or a checkpoint that is not there any more, or is damaged.
    """
    predictor = Predictor(run.config, workdir)
    names = run.table.names()
    pictures = {}
    cases = gallery.cases()
    with tqdm(total=len(cases), unit=" fields", desc="looking", disable=None) as bar:
        for source in run.table.source_names:
            config = copy.deepcopy(run.config)
            config.data.name = source
            fields = pipeline.open_split(config.data, run.table.split, source)
            places = {field_id: i for i, field_id in enumerate(fields.ids())}
            mine = [case for case in cases if names[case.field][0] == source]
            look = make_grad_cam(
                experiment.make_model(config),
                preparation=normalize.preparation(config.data),
                mesh=predictor.mesh,
            )
            size = config.data.batch_size
            for start in range(0, len(mine), size):
                batch = mine[start : start + size]
                images = np.stack([fields.image(places[names[case.field][1]]) for case in batch])
                filled = [(0, size - len(batch))]
                arrays = {
                    "image": np.pad(images, filled + [(0, 0)] * 3),
                    "label": np.pad(np.array([case.label for case in batch], np.int32), filled),
                }
                heat, _ = look(predictor.variables, *put_batch(arrays, predictor.mesh).values())
                for case, image, one in zip(batch, images, np.asarray(heat), strict=False):
                    pictures[case] = data_uri(overlay_strip(image, one))
                bar.update(len(batch))
    return gallery._replace(pictures=pictures)


def mistakes_section(run: Run, gallery: Gallery) -> str:
    """What was predicted surely and is not there; what is there and was surely not predicted."""
    parts = (
        (
            "Predicted, and not borne",
            "the highest scores of labels wrongly predicted",
            gallery.wrong,
        ),
        ("Borne, and not predicted", "the lowest scores of labels missed", gallery.missed),
    )
    body = "".join(
        f"<h3>{title} <small>{what}</small></h3>\n"
        f'<div class="cases">{"".join(_figure(run, case, gallery.pictures[case]) for case in cases)}</div>\n'
        for title, what, cases in parts
        if cases
    )
    body = body or '<p class="none">Not one label was wrongly predicted or missed.</p>\n'
    return (
        "<p>Decisions with cross-fitted thresholds. Some of these are mistakes of the net, others of the labels. "
        f"{_legend()} At most three of one label are shown.</p>\n{body}"
    )


def hits_section(run: Run, gallery: Gallery) -> str:
    """The best of each label."""
    body, bare = "", []
    for i in run.by_support():
        cases, name = gallery.hits[i], run.labels()[i]
        if not cases:
            bare.append(name)
            continue
        of = f"{len(cases)} of {plural(int((run.table.targets[:, i] != 0).sum()), 'field')}"
        figures = "".join(_figure(run, case, gallery.pictures[case]) for case in cases)
        label_id = run.table.label_ids[i]
        body += (
            f'<h3><span class="id">{label_id}</span> {text(name)} <small>{of}</small></h3>\n<div class="cases">'
            f"{figures}</div>\n"
        )
    return (
        f"<p>The {HITS} fields that bear a label with its highest scores. Is the structure where the net looked? A net "
        f"that looks beside it has learnt something else. {_legend()}</p>\n{body}"
        + (f"<p>Without any field: {text(', '.join(bare))}.</p>\n" if bare else "")
    )


def _legend() -> str:
    names = ", ".join(CHANNELS[:-1]) + f" and {CHANNELS[-1]}"
    return (
        f"{PANELS} panels: false colours, then {names} in gray with the label's class-activation map (Grad-CAM, "
        "arXiv:1610.02391) in orange, edged in blue at half its maximum. Its grain is that of the net's last map, and "
        "it is taken on the whole field, whatever views were scored. No orange: nothing speaks for the label."
    )


def _figure(run: Run, case: Case, uri: str) -> str:
    names, targets = run.labels(), run.table.targets[case.field] != 0
    borne = ", ".join(names[i] for i in np.flatnonzero(targets)) or "no label"
    field_id = run.table.ids[case.field]
    about = text(f"{field_id}: {names[case.label]} {case.score:.3f}; bears {borne}")
    more = "" if case.borne and targets.sum() == 1 else f" <small>bears {text(borne)}</small>"
    return (
        f'<figure><img src="{uri}" width="{WIDTH}" height="{SIDE}" alt="Field {about}" title="{about}">'
        f"<figcaption><b>{text(names[case.label])} {case.score:.3f}</b>{more} <bdi>{text(field_id)}</bdi></figcaption>"
        "</figure>\n"
    )


def gallery_table(run: Run, gallery: Gallery) -> Table:
    """The fields that are shown."""
    kinds = [("wrongly predicted", gallery.wrong), ("missed", gallery.missed)]
    kinds += [("best hit", cases) for cases in gallery.hits]
    names = run.table.names()
    rows = [
        [
            kind,
            rank,
            names[case.field][0],
            names[case.field][1],
            run.labels()[case.label],
            case.score,
        ]
        for kind, cases in kinds
        for rank, case in enumerate(cases, 1)
    ]
    return Table("gallery", ("kind", "rank", "dataset", "id", "label", "score"), rows)


def size_of(gallery: Gallery) -> str:
    """How many pictures, for a line on the terminal."""
    return f"{number(len(gallery.pictures))} fields shown"
