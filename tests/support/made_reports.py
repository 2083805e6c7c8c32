"""Datasets and runs in memory, for tests of reports; HOSTILE text goes wherever text can be."""

from dataclasses import replace

import numpy as np

from hpa_jax.config import Config
from hpa_jax.evaluation.score_table import ScoreTable
from hpa_jax.report.dataset import examples
from hpa_jax.report.dataset.load import DatasetSummary, Duplicate, Reject
from hpa_jax.report.dataset.page import dataset_page
from hpa_jax.report.pictures import make_preview
from hpa_jax.report.run import gallery
from hpa_jax.report.run.load import Run, make_run
from hpa_jax.report.run.page import run_page, run_sections

HOSTILE = (
    '<script>document.title="owned"</script>"><img src=http://evil.invalid/x onerror=alert(1)>'
    "&\u202e\x00"
)


def made_dataset(n: int = 300, **changes) -> DatasetSummary:
    """A dataset of `n` images: every label, hostile Ids, near-duplicates of every kind."""
    rng = np.random.default_rng(0)
    targets = (rng.random((n, 28)) < 0.05).astype(np.uint8)
    targets[np.arange(n), np.arange(n) % 28] = 1
    rejects = []
    for i in range(20):
        rejects.append(Reject(f"r{i}{HOSTILE}", f"train/{HOSTILE}", f"{HOSTILE} is {i}x9"))
    summary = DatasetSummary(
        name="made",
        version="3.0.0",
        ids=[f"{HOSTILE}{i}" for i in range(n)],
        targets=targets,
        folds=np.arange(n) % 5 - 1,
        groups=np.arange(n),
        sizes=np.full((n, 2), 512),
        histogram=rng.integers(0, 1000, (4, 256)),
        build={"source": HOSTILE, "test": 0.1, HOSTILE: [HOSTILE]},
        duplicates=[
            Duplicate(f"{HOSTILE}0", f"{HOSTILE}1", 3),
            Duplicate(f"{HOSTILE}2", HOSTILE, 1),
        ],
        rejects=rejects,
    )
    return replace(summary, **changes)


def noise(ref, side: int = 96) -> np.ndarray:
    """An image that no compression makes small."""
    return np.random.default_rng([*ref]).integers(0, 256, (side, side, 4), np.uint8)


def made_dataset_page(datasets, image=noise) -> str:
    """The page about datasets, with `image(ref)` in place of their images."""
    shown = examples.examples_per_label(datasets)
    pairs = examples.duplicate_pairs(datasets)
    refs = examples.images_to_show(shown, pairs)
    previews = {ref: make_preview(image(ref)) for ref in refs}
    return dataset_page(datasets, shown, pairs, previews)


def made_table(n: int = 300, seed: int = 0, skill: float = 2.0, **changes) -> ScoreTable:
    """Scores of `n` images: the larger `skill`, the better."""
    rng = np.random.default_rng(0)
    targets = (rng.random((n, 28)) < np.linspace(0.01, 0.3, 28)).astype(np.uint8)
    noise = np.random.default_rng([seed, 1]).normal(size=targets.shape)
    logits = skill * (2 * targets.astype(float) - 1) + noise
    table = ScoreTable(
        ids=[f"f{i}" for i in range(n)],
        scores=(1 / (1 + np.exp(-logits))).astype(np.float32),
        targets=targets,
        groups=np.arange(n) // 2,
        folds=np.zeros(n, np.int64),
        source=np.zeros(n, np.int32),
        source_names=("made",),
        label_ids=tuple(range(28)),
        split="validation",
        checkpoint=40,
        tta="whole image",
        thresholds=np.full(28, 0.4),
        thresholds_split="validation",
    )
    return replace(table, **changes)


def first_nine(table: ScoreTable) -> ScoreTable:
    """The first nine labels of a table."""
    return replace(
        table,
        scores=table.scores[:, :9],
        targets=table.targets[:, :9],
        thresholds=table.thresholds[:9],
        label_ids=tuple(range(9)),
        label_names=table.label_names[:9],
    )


def made_config(replicates: int = 40) -> Config:
    config = Config()
    config.evaluate.replicates = replicates
    config.data.image_size = 64
    return config


def made_records() -> list[dict]:
    """What training logged."""
    records = []
    for step in range(1, 900):
        records.append(
            {"step": step, "split": "train", "loss": 1 / step, "lr": 1e-3, "accuracy": 0.9}
        )
    for step in (300, 600):
        records.append(
            {"step": step, "split": "validation", "macro_f1": step / 1000, "micro_f1": 0.5}
        )
    return records


def made_run(table: ScoreTable, name: str = "made", records=None, **settings) -> Run:
    """An evaluated run."""
    if records is None:
        records = made_records()
    return make_run(name, made_config(**settings), records, table)


def made_gallery(run: Run) -> gallery.Gallery:
    """The cases of a run with one pixel for a picture."""
    chosen = gallery.choose_cases(run)
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    return chosen._replace(pictures=dict.fromkeys(chosen.cases(), pixel))


def made_sections(runs, comparisons=()):
    return run_sections(runs, comparisons, made_gallery(runs[0]))


def made_run_page(runs, comparisons=()) -> str:
    return run_page(runs, made_sections(runs, comparisons))
