"""The section that puts published results beside ours, each with its source.

The study of the baseline `hpa_densenet` (project page of manthan2305/HPA-Image-Classification)
gives macro F1 on a split of its own. Its public notebook computes an F1 averaged over images that
compares the targets with themselves, so that what its numbers measure is doubtful: they are
printed as published. Human accuracy is quoted there, too, without its source.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hpa_jax.config import Config
from hpa_jax.labels import FIRST_NINE, LABELS
from hpa_jax.report.html import Section, number
from hpa_jax.report.run.load import Run
from hpa_jax.report.table_charts import FRACTION_MARKS, published_bars
from hpa_jax.report.tables import Table

HUMAN = 0.71
"""People's F1 as the study quotes it; no primary source is known."""
HIGH_RESOLUTION = 1024
"""px a side from which on a run counts as the study's high resolution."""


class StudyRow(NamedTuple):
    """A row of the study's table; `recipe` is its file in configs/, without the .py."""

    name: str
    recipe: str
    macro_f1: float


STUDY = (
    StudyRow("All-CNN", "all_cnn", 0.0162),
    StudyRow("Inception-ResNet-v2", "inception_resnet_v2", 0.3354),
    StudyRow("DenseNet-201", "densenet201", 0.3825),
    StudyRow("DenseNet-121, low resolution", "lowres", 0.3987),
    StudyRow("DenseNet-121, high resolution", "highres", 0.4025),
    StudyRow("first nine labels, low resolution", "lowres_first_nine", 0.6012),
    StudyRow("first nine labels, high resolution", "highres_first_nine", 0.6139),
)


class ChallengeResult(NamedTuple):
    """Macro F1 on the challenge's hidden images, which are not those of any run here."""

    system: str
    macro_f1: float
    source: str


CHALLENGE = (
    ChallengeResult(
        "1st place (bestfitting), many nets",
        0.593,
        "quoted by reneebrecht/human-protein-atlas-image-classification",
    ),
    ChallengeResult(
        "its DenseNet-121 alone, five folds, 1024 px",
        0.565,
        "CellProfiling/HPA-competition-solutions, bestfitting/README.md",
    ),
    ChallengeResult(
        "DenseNet-121 at 512 px, five folds, one small GPU", 0.546, "avipartho/kaggle_human_protein"
    ),
    ChallengeResult(
        "median of 2,154 teams, public part",
        0.434,
        "broadinstitute/Dino4Cells_analysis, table of scores",
    ),
)

_METRICS = {
    "macro_f1": "Macro F1 at 0.5",
    "macro_f1_crossfit": "Macro F1, cross-fitted",
    "micro_f1": "Micro F1 at 0.5",
    "samples_f1": "Samples F1 at 0.5",
    "accuracy": "Element-wise accuracy",
}


def study_recipe(config: Config) -> str | None:
    """Returns the recipe of the study's row that a run reproduces, or None.

    It must have the row's net, labels and size of image, the study's loss and optimizer, and the
    challenge's images: synthetic images, or another recipe with the same net, do not compare with
    a published result.
    """
    recipe = (config.train.loss, config.optim.name, config.optim.lr)
    if recipe != ("bce", "adam", 0.01) or not config.data.name.startswith("kaggle"):
        return None
    labels = config.label_names()
    has_all = labels == LABELS
    model = config.model
    # The baseline's head was called `seed` in earlier versions.
    if model.name == "densenet121" and model.head in ("hpa_densenet", "seed"):
        size = "highres" if config.data.image_size >= HIGH_RESOLUTION else "lowres"
        if has_all:
            return size
        if labels == tuple(LABELS[label] for label in FIRST_NINE):
            return f"{size}_first_nine"
    elif has_all and model.name in ("all_cnn", "inception_resnet_v2", "densenet201"):
        return model.name
    return None


class ComparedRow(NamedTuple):
    """A published row with a run of it, or a run that is none of them."""

    study: StudyRow | None
    run: Run | None


def compared_rows(runs: Sequence[Run]) -> list[ComparedRow]:
    """Puts runs beside the rows of the study that they reproduce; other runs follow."""
    rows = []
    for study in STUDY:
        ours = [run for run in runs if study_recipe(run.config) == study.recipe]
        rows += [ComparedRow(study, run) for run in ours or [None]]
    rows += [ComparedRow(None, run) for run in runs if study_recipe(run.config) is None]
    return rows


def published_section(runs: Sequence[Run]) -> Section:
    """Two tables: the study's rows with ours, and what the same nets reached in the challenge."""
    rows = compared_rows(runs)
    data = {
        "level": runs[0].config.evaluate.level,
        "human": f"{HUMAN:.2f}",
        "axis": FRACTION_MARKS,
        "metrics": list(_METRICS.values()),
        "rows": [_shown(row) for row in rows],
        "people": published_bars(None, [], HUMAN),
        "challenge": CHALLENGE,
    }
    title = "Beside published results"
    return Section("published", title, "run/published.html", data, [_table(rows)])


def _shown(row: ComparedRow) -> dict[str, Any]:
    study, run = row
    shown = {"place": "", "metrics": None}
    ours = []
    if run is not None:
        ours = [(run.metrics["macro_f1"], run.interval("macro_f1"))]
        sources = ", ".join(run.table.source_names)
        images = number(len(run.table.ids))
        shown["place"] = f"{run.name}: {images} of {run.table.split} of {sources}"
        shown["metrics"] = [(run.metrics.get(key), run.interval(key)) for key in _METRICS]
        shown |= {"name": run.config.model.name, "recipe": "no row of the study"}
    published = None
    if study is not None:
        published = study.macro_f1
        shown |= {"name": study.name, "recipe": f"configs/{study.recipe}.py"}
    return shown | {"published": published, "bars": published_bars(published, ours, HUMAN)}


def _table(rows: Sequence[ComparedRow]) -> Table:
    """The same rows, and people as the last."""
    columns = ["row", "recipe", "published_macro_f1", "run", "dataset", "split", "fields"]
    for key in _METRICS:
        columns += [key, f"{key}_low", f"{key}_high"]
    lines = []
    for study, run in rows:
        line = list(study) if study else ["other", None, None]
        if run is not None:
            line += [run.name, run.config.data.name, run.table.split, len(run.table.ids)]
            for key in _METRICS:
                low, high = run.interval(key) or (None, None)
                line += [run.metrics.get(key), low, high]
        lines.append(line)
    lines.append(["people", None, HUMAN])
    # What a row lacks is at its end.
    for line in lines:
        line += [None] * (len(columns) - len(line))
    return Table("published", columns, lines)
