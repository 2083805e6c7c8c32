"""`--mode=report` for datasets: one, or several that are to be trained on together.

Counts and histograms come from the indexes and from what the build has stored; only the images
that are shown are decoded, some hundred, so that a dataset of a hundred gigabytes takes no longer
than one of a few.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from hpa_jax.config import Data
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.files import write_atomically
from hpa_jax.report.dataset import build, examples, images, labels
from hpa_jax.report.dataset.examples import DuplicatePair, ImageRef
from hpa_jax.report.dataset.load import DatasetSummary, check_same_labels, read_dataset
from hpa_jax.report.dataset.overview import overview_section
from hpa_jax.report.html import number, page, plural
from hpa_jax.report.pictures import Preview, make_preview

FILE = "report.html"


def write_dataset_report(data: Data, names: Sequence[str], out: Path) -> None:
    """Writes OUT/report.html about the datasets `names`, and prints where it is.

    Raises:
      InputError: a dataset does not exist or is damaged (shard, record, Id), or their labels are
        of different vocabularies.
    """
    summaries = []
    opened = []
    # A source can be named twice, with two weights.
    for name in dict.fromkeys(names):
        summary, dataset = read_dataset(data.data_dir, name)
        summaries.append(summary)
        opened.append(dataset)
    check_same_labels(summaries)
    shown = examples.examples_per_label(summaries)
    pairs = examples.duplicate_pairs(summaries)
    refs = examples.images_to_show(shown, pairs)
    previews = _make_previews(opened, refs, data.threads)
    html = dataset_page(summaries, shown, pairs, previews)
    path = out / FILE
    write_atomically(path, html)
    megabytes = len(html.encode()) / 1e6
    count = plural(len(previews), "image")
    print(f"{path}: {count} shown, {megabytes:.1f} MB; open it in a browser")


def dataset_page(
    datasets: Sequence[DatasetSummary],
    shown: Sequence[Sequence[ImageRef]],
    pairs: Sequence[DuplicatePair],
    previews: Mapping[ImageRef, Preview],
) -> str:
    """Returns the page. It has no date and no path: the same datasets give the same bytes.

    Args:
      datasets: in the order of the page.
      shown: the images to show of each label.
      pairs: near-duplicates; the first MAX_PAIRS are shown.
      previews: of every image that is shown.
    """
    title = " + ".join(f"hpa/{dataset.name}" for dataset in datasets)
    total = sum(map(len, datasets))
    sections = [
        overview_section(datasets, pairs, previews),
        labels.counts_section(datasets),
        labels.examples_section(datasets, shown, previews),
        labels.cooccurrence_section(datasets),
        images.intensity_section(datasets),
        images.duplicate_section(datasets, pairs, previews),
        build.reject_section(datasets),
        build.split_section(datasets),
        build.settings_section(datasets),
    ]
    return page(title, f"{number(total)} images, looked at before training", sections)


def _make_previews(
    datasets: Sequence[ImageDataset], refs: Sequence[ImageRef], threads: int
) -> dict[ImageRef, Preview]:
    def read(ref: ImageRef) -> Preview:
        return make_preview(datasets[ref.dataset].image(ref.index))

    # The pool's map decodes ahead without limit, but its results are pictures of a few kilobytes.
    with ThreadPoolExecutor(max(1, threads)) as pool:
        previews = pool.map(read, refs)
        progress = tqdm(previews, total=len(refs), unit=" images", desc="decoding", disable=None)
        return dict(zip(refs, progress, strict=True))
