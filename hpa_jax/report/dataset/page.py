"""`--mode=report`: looks at one dataset, or at several that are to be trained on together, and writes one HTML page.

Counts and histograms come from the indexes and from what the build has stored; only the fields that are shown are
decoded, some hundred, so that a dataset of a hundred gigabytes takes no longer than one of a few.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from hpa_jax.config import Config
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.files import write_atomically
from hpa_jax.report.dataset import build, examples, images, labels
from hpa_jax.report.dataset.examples import PAIRS, Spot, Twins
from hpa_jax.report.dataset.load import Facts, read_facts
from hpa_jax.report.dataset.overview import overview_section
from hpa_jax.report.html import number, plural
from hpa_jax.report.page import Section, page
from hpa_jax.report.pictures import Look, look

FILE = "report.html"


def report(config: Config, workdir: Path) -> None:
    """Writes WORKDIR/report.html about the datasets of `config.data`, and prints where it lies.

    Raises InputError: no such dataset, or damage (shard, record, Id).
    """
    opened = [
        read_facts(config.data.data_dir, name) for name in dict.fromkeys(config.source_names())
    ]
    facts = [dataset for dataset, _ in opened]
    mosaic, pairs = examples.mosaic(facts), examples.twins(facts)
    looks = _look_at(
        [fields for _, fields in opened], examples.shown(mosaic, pairs), config.data.threads
    )
    path = workdir / FILE
    html = dataset_page(facts, mosaic, pairs, looks)
    write_atomically(path, html)
    print(
        f"{path}: {plural(len(looks), 'field')} shown, {len(html.encode()) / 1e6:.1f} MB; open it in a browser"
    )


def dataset_page(
    facts: Sequence[Facts],
    mosaic: Sequence[Sequence[Spot]],
    pairs: Sequence[Twins],
    looks: dict[Spot, Look],
) -> str:
    """The page: a function of what was found, without a date or a path, so that the same dataset gives the same bytes.

    Args:
      mosaic: the fields to show of each label.
      pairs: near-duplicates; the first PAIRS are shown.
      looks: of every field that is shown.
    """
    title = " + ".join(f"hpa/{dataset.name}" for dataset in facts)
    subtitle = f"{number(sum(map(len, facts)))} fields, looked at before training"
    return page(
        title,
        subtitle,
        [
            Section("overview", "At a glance", overview_section(facts, pairs, looks)),
            Section("labels", "Labels", labels.counts_section(facts)),
            Section(
                "mosaic", "What the labels look like", labels.mosaic_section(facts, mosaic, looks)
            ),
            Section("together", "Labels that come together", labels.together_section(facts)),
            Section("intensities", "Intensities by channel", images.intensity_section(facts)),
            Section(
                "twins", "Near-duplicates", images.duplicate_section(facts, pairs, PAIRS, looks)
            ),
            Section("rejects", "Rejects", build.reject_section(facts)),
            Section("parts", "Parts, folds, sizes", build.parts_section(facts)),
            Section("settings", "How it was built", build.settings_section(facts)),
        ],
    )


def _look_at(
    fields: Sequence[ImageDataset], spots: Sequence[Spot], threads: int
) -> dict[Spot, Look]:
    def read(spot: Spot) -> Look:
        return look(fields[spot.source].image(spot.position))

    # The pool's map decodes ahead without end, but what it keeps is pictures of a few kilobytes.
    with ThreadPoolExecutor(max(1, threads)) as pool:
        seen = tqdm(
            pool.map(read, spots), total=len(spots), unit=" fields", desc="looking", disable=None
        )
        return dict(zip(spots, seen, strict=True))
