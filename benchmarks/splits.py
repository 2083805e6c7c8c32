"""How far splits are from proportional, beside random ones; and what a million images cost.

    HPA_SAMPLE_DIR=DIR python benchmarks/splits.py [--images=1000000] [--json=FILE]

On the labels of the challenge's train.csv (every image by itself) and of HPA v18 (the images of an
antibody together), a test split of 10 % and five folds. The deviation of a label in a split is the
number of its images there less the proportional number, as a fraction of the label's images; for
random splits it is the median of 20 seeds. Then a million images with labels drawn from train.csv,
by themselves and in groups of 1 to 50, and a million perceptual hashes with duplicates among them,
each in a process of its own.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import checkout  # noqa: F401
import numpy as np
from command_line import make_parser, run
from iterstrat.ml_stratifiers import IterativeStratification
from processes import call_again, peak_bytes
from results import make_row, write_rows

from hpa_jax.environment.program import run_program
from hpa_jax.errors import InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.files import csv_table
from tfds_builder.hpa.split import duplicates, perceptual, stratify

TEST = 0.1
FOLDS = 5
SEEDS = 20
CSVS = {"kaggle_train": "csv/kaggle_train.csv", "hpav18": "csv/hpav18_without_duplicates.csv"}
LARGE = ("fields", "groups", "duplicates")  # in the names of rows: "fields" are single images

Labels = list[tuple[int, ...]]


class Deviation(NamedTuple):
    """Of one split.

    Attributes:
      largest: percent of a label's images.
      median: over all labels and splits, percent.
      torn: groups that lie in more than one split.
    """

    largest: float
    median: float
    torn: float


def read_csv(name: str) -> tuple[Labels, np.ndarray]:
    """Labels of each row of one of CSVS, and the number of its group, int `[N]`."""
    if "HPA_SAMPLE_DIR" not in os.environ:
        raise InputError(
            "HPA_SAMPLE_DIR is not set; set it to the folder that holds csv/kaggle_train.csv"
        )
    path = Path(os.environ["HPA_SAMPLE_DIR"]) / CSVS[name]
    if not path.is_file():
        raise InputError(f"{path} is not there; set HPA_SAMPLE_DIR to the folder of the csvs")
    rows = csv_table.read(path.read_bytes(), str(path)).rows
    labels = []
    antibodies = []
    for row in rows:
        labels.append(row.labels)
        antibodies.append(row.id.split("_")[0] if name == "hpav18" else "")
    return labels, duplicates.group_numbers(len(rows), [], antibodies)


def split_ours(labels: Labels, groups: np.ndarray) -> np.ndarray:
    return stratify.split(labels, groups, len(LABELS), test=TEST, folds=FOLDS)


def split_at_random(groups: np.ndarray, seed: int) -> np.ndarray:
    """Groups in random order, divided where the fractions of the splits end."""
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    cumulated = np.cumsum(stratify.fractions(TEST, FOLDS, len(sizes))) / 10_000
    ends = cumulated * sizes.sum()
    middles = np.cumsum(sizes[order]) - sizes[order] / 2
    split_of_group = np.empty(len(sizes), int)
    split_of_group[order] = np.searchsorted(ends, middles)
    return split_of_group[groups] - 1


def split_by_package(labels: Labels, groups: np.ndarray, seed: int) -> np.ndarray:
    """iterative-stratification alone, one row a group."""
    targets = np.zeros((groups.max() + 1, len(LABELS)), bool)
    for group, ids in zip(groups, labels, strict=True):
        targets[group, list(ids)] = True
    fractions = stratify.fractions(TEST, FOLDS, len(targets)) / 10_000
    random_state = np.random.RandomState(seed)
    return IterativeStratification(targets, fractions, random_state)[groups] - 1


def deviation(labels: Labels, groups: np.ndarray, splits: np.ndarray) -> Deviation:
    deviations = stratify.deviations(labels, groups, splits, len(LABELS), test=TEST, folds=FOLDS)
    percent = 100 * np.abs(deviations.fraction[:, :-1])
    pairs = np.unique(np.stack([groups, splits]), axis=1)
    torn = pairs.shape[1] - len(np.unique(groups))
    return Deviation(percent.max(), np.median(percent), torn)


def median_deviation(
    labels: Labels, groups: np.ndarray, several: Sequence[np.ndarray] | Iterator[np.ndarray]
) -> Deviation:
    """The median of each number over several splits."""
    found = [deviation(labels, groups, splits) for splits in several]
    return Deviation(*(statistics.median(column) for column in zip(*found, strict=True)))


def compare(name: str) -> list[dict]:
    """Prints the table of one csv; returns its rows."""
    labels, groups = read_csv(name)
    start = time.perf_counter()
    ours = split_ours(labels, groups)
    seconds = time.perf_counter() - start
    methods = {
        "ours": [ours],
        "iterative-stratification": [split_by_package(labels, groups, 0)],
        "random groups": (split_at_random(groups, seed) for seed in range(SEEDS)),
    }
    has_groups = groups.max() < len(labels) - 1
    if has_groups:
        single = np.arange(len(labels))
        methods["random images, groups torn"] = (
            split_at_random(single, seed) for seed in range(SEEDS)
        )
    print(f"{name}: {len(labels)} images in {groups.max() + 1} groups, split in {seconds:.1f} s")
    found = {}
    for method, several in methods.items():
        found[method] = median_deviation(labels, groups, several)
        largest, median, torn = found[method]
        print(
            f"  {method:<26} largest {largest:6.2f} %   median {median:7.4f} %"
            f"   groups torn {torn:.0f}"
        )
    deviations = stratify.deviations(labels, groups, ours, len(LABELS), test=TEST, folds=FOLDS)
    for line in stratify.explain_deviations(labels, groups, deviations):
        print(f"    {line}")

    rows = []
    for kind in ("largest", "median"):
        row = make_row(
            f"split_{name}_{kind}_deviation",
            getattr(found["ours"], kind),
            "%",
            peer="random groups",
            peer_value=getattr(found["random groups"], kind),
            device="cpu",
        )
        rows.append(row)
    rows.append(make_row(f"split_{name}_seconds", seconds, "s", device="cpu"))
    return rows


def draw_hashes(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Random perceptual hashes: of each hundred one is blank, one a near and one an exact copy.

    Returns:
      Hashes uint8 `[N, HASH_BYTES]`, and of which image each is a copy, int `[N]`.
    """
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (images, perceptual.HASH_BYTES), dtype=np.uint8)
    original = np.arange(images)
    special = rng.permutation(images)[: images // 100 * 3]
    blank, exact, near = special.reshape(3, -1)
    hashes[blank] = 0
    original[blank] = blank[:1]
    others = np.setdiff1d(np.arange(images), special)
    sources = others[: len(exact)]
    for copies in (exact, near):
        hashes[copies] = hashes[sources]
        original[copies] = sources
    # 12 of the 256 bits of each near copy are flipped.
    for bits in rng.integers(0, 256, (12, len(near))):
        hashes[near, bits // 8] ^= np.uint8(1) << (bits % 8).astype(np.uint8)
    return hashes, original


def measure(what: str, images: int) -> dict:
    """Seconds and peak megabytes of one of LARGE at that many images, in this process."""
    if what == "duplicates":
        seconds, note = _find_duplicates(images)
    else:
        seconds, note = _split_many(images, grouped=what == "groups")
    return {"seconds": seconds, "megabytes": peak_bytes() / 2**20, "note": note}


def _find_duplicates(images: int) -> tuple[float, str]:
    hashes, original = draw_hashes(images)

    def same(a: int, b: int) -> bool:
        return original[a] == original[b]

    start = time.perf_counter()
    pairs = duplicates.near_duplicates(hashes, same)
    seconds = time.perf_counter() - start
    copies = images - len(np.unique(original))
    return seconds, f"{len(pairs)} of {copies} duplicates found"


def _split_many(images: int, *, grouped: bool) -> tuple[float, str]:
    real_labels, _ = read_csv("kaggle_train")
    rng = np.random.default_rng(0)
    groups = np.arange(images)
    if grouped:
        groups = np.repeat(groups, rng.integers(1, 51, images))[:images]
    labels = [real_labels[row] for row in rng.integers(0, len(real_labels), images)]
    start = time.perf_counter()
    splits = split_ours(labels, groups)
    seconds = time.perf_counter() - start
    return seconds, f"largest deviation {deviation(labels, groups, splits).largest:.2f} %"


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--images",
        "--fields",
        type=int,
        default=1_000_000,
        help="of the large ones; 0 leaves them out",
    )
    parser.add_argument("--one", choices=LARGE, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        return run(lambda: print(json.dumps(measure(args.one, args.images))))
    return run(lambda: report(args))


def report(args) -> None:
    """Compares on each csv, measures the large ones, and writes the rows."""
    rows = []
    for name in CSVS:
        rows += compare(name)
    for what in LARGE if args.images else ():
        found = call_again(__file__, f"--one={what}", f"--images={args.images}")
        cost = f"{found['seconds']:6.1f} s   peak {found['megabytes']:4.0f} MB"
        print(f"{args.images} {what:<11} {cost}   {found['note']}")
        name = f"split_{args.images}_{what}"
        rows.append(make_row(f"{name}_seconds", found["seconds"], "s", device="cpu"))
        rows.append(make_row(f"{name}_megabytes", found["megabytes"], "MB", device="cpu"))
    write_rows(args.json, rows)


if __name__ == "__main__":
    run_program(main)
