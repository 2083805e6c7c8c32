"""How far the parts of a split are from proportional, beside random splitting; and what a million fields cost.

    HPA_SAMPLE_DIR=DIR python benchmarks/splits.py [--fields=1000000] [--json=FILE]

On the labels of the challenge's train.csv (every field by itself) and of HPA v18 (the fields of an antibody together),
a test part of 10 % and five folds. A deviation is that of a label's fields in a part from the proportional number, as a
share of the label's fields; random splits are the median of 20 seeds. Then a million fields with labels drawn from
train.csv, by themselves and in groups of 1 to 50, and a million perceptual hashes with duplicates among them, each in
a process of its own.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from iterstrat.ml_stratifiers import IterativeStratification

from hpa_jax.errors import EXIT_BAD_INPUT, InputError
from hpa_jax.labels import LABELS
from tfds_builder.hpa.files import csv_table
from tfds_builder.hpa.split import duplicates, stratify

TEST, FOLDS, SEEDS = 0.1, 5, 20
CSVS = {"kaggle_train": "csv/kaggle_train.csv", "hpav18": "csv/hpav18_without_duplicates.csv"}


def read(name):
    """Labels and groups of a csv."""
    if "HPA_SAMPLE_DIR" not in os.environ:
        raise InputError(
            "HPA_SAMPLE_DIR is not set; set it to the folder that holds csv/kaggle_train.csv"
        )
    path = Path(os.environ["HPA_SAMPLE_DIR"]) / CSVS[name]
    if not path.is_file():
        raise InputError(f"{path} is not there; set HPA_SAMPLE_DIR to the folder of the csvs")
    rows = csv_table.read(path.read_bytes(), str(path), "Id", "Target").rows
    families = [row.id.split("_")[0] if name == "hpav18" else "" for row in rows]
    return [row.labels for row in rows], duplicates.group_numbers(len(rows), [], families)


def at_random(groups, seed):
    """Groups in random order, cut where the parts' shares of the fields end."""
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    ends = np.cumsum(stratify.fractions(TEST, FOLDS, len(sizes))) / 10_000 * sizes.sum()
    part = np.empty(len(sizes), int)
    part[order] = np.searchsorted(ends, np.cumsum(sizes[order]) - sizes[order] / 2)
    return part[groups] - 1


def stratified(labels, groups, seed):
    """The package alone, one row a group."""
    borne = np.zeros((groups.max() + 1, len(LABELS)), bool)
    for group, ids in zip(groups, labels, strict=True):
        borne[group, list(ids)] = True
    share = stratify.fractions(TEST, FOLDS, len(borne)) / 10_000
    return IterativeStratification(borne, share, np.random.RandomState(seed))[groups] - 1


def figures(labels, groups, parts):
    """Largest and median deviation, in per cent of a label's fields; groups that lie in more than one part."""
    off = (
        np.abs(
            stratify.deviations(
                labels, groups, parts, len(LABELS), test=TEST, folds=FOLDS
            ).fraction[:, :-1]
        )
        * 100
    )
    straddling = len(np.unique(np.stack([groups, parts]), axis=1).T) - len(np.unique(groups))
    return off.max(), np.median(off), straddling


def compare(name):
    """Prints the table of one csv; its rows for --json."""
    labels, groups = read(name)
    begun = time.perf_counter()
    parts = stratify.split(labels, groups, len(LABELS), test=TEST, folds=FOLDS)
    seconds = time.perf_counter() - begun
    ways = {
        "ours": [parts],
        "iterative-stratification": [stratified(labels, groups, 0)],
        "random groups": (at_random(groups, seed) for seed in range(SEEDS)),
    }
    if groups.max() < len(labels) - 1:
        fields = np.arange(len(labels))
        ways["random fields, groups torn"] = (at_random(fields, seed) for seed in range(SEEDS))
    found = {
        way: [
            statistics.median(row)
            for row in zip(*(figures(labels, groups, parts) for parts in several), strict=True)
        ]
        for way, several in ways.items()
    }
    print(f"{name}: {len(labels)} fields in {groups.max() + 1} groups, split in {seconds:.1f} s")
    for way, (largest, median, straddling) in found.items():
        print(
            f"  {way:<26} largest {largest:6.2f} %   median {median:7.4f} %   groups torn {straddling:.0f}"
        )
    deviations = stratify.deviations(labels, groups, parts, len(LABELS), test=TEST, folds=FOLDS)
    for line in stratify.explain_deviations(labels, groups, deviations):
        print(f"    {line}")
    rows = []
    for which, kind in enumerate(("largest", "median")):
        ours, peer = found["ours"][which], found["random groups"][which]
        row = {
            "name": f"split_{name}_{kind}_deviation",
            "value": ours,
            "unit": "%",
            "peer": "random groups",
        }
        rows.append(row | {"peer_value": peer, "ratio_to_peer": ours / peer, "device": "cpu"})
    peak = {"peer": None, "ratio_to_peer": None, "device": "cpu"}
    return rows + [{"name": f"split_{name}_seconds", "value": seconds, "unit": "s"} | peak]


def drawn_hashes(fields):
    """Random hashes; of each hundred fields one is blank, one a near and one an exact copy; int, whose copy each is."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (fields, duplicates.HASH_BYTES), dtype=np.uint8)
    original = np.arange(fields)
    blank, exact, near = rng.permutation(fields)[: fields // 100 * 3].reshape(3, -1)
    hashes[blank], original[blank] = 0, blank.min(initial=0)
    sources = np.setdiff1d(np.arange(fields), np.concatenate([blank, exact, near]))[: len(exact)]
    for copies in (exact, near):
        hashes[copies], original[copies] = hashes[sources], sources
    for bits in rng.integers(0, 256, (12, len(near))):  # 12 of the 256 flipped
        hashes[near, bits // 8] ^= np.uint8(1) << (bits % 8).astype(np.uint8)
    return hashes, original


def measure(what, fields):
    """Seconds and peak MB of one step at that many fields, in this process."""
    if what == "duplicates":
        hashes, original = drawn_hashes(fields)
        begun = time.perf_counter()
        pairs = duplicates.near_duplicates(hashes, lambda a, b: original[a] == original[b])
        seconds = time.perf_counter() - begun
        note = f"{len(pairs)} of {fields - len(np.unique(original))} duplicates found"
    else:
        real, _ = read("kaggle_train")
        rng = np.random.default_rng(0)
        groups = np.arange(fields)
        if what == "groups":
            groups = np.repeat(groups, rng.integers(1, 51, fields))[:fields]
        labels = [real[k] for k in rng.integers(0, len(real), fields)]
        begun = time.perf_counter()
        parts = stratify.split(labels, groups, len(LABELS), test=TEST, folds=FOLDS)
        seconds = time.perf_counter() - begun
        note = f"largest deviation {figures(labels, groups, parts)[0]:.2f} %"
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "megabytes": megabytes, "note": note}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--fields", type=int, default=1_000_000, help="of the large one; 0 leaves it out"
    )
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    parser.add_argument("--one", choices=("fields", "groups", "duplicates"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        if arguments.one:
            print(json.dumps(measure(arguments.one, arguments.fields)))
            return 0
        rows = [row for name in CSVS for row in compare(name)]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    for what in ("fields", "groups", "duplicates") if arguments.fields else ():
        command = [sys.executable, __file__, f"--one={what}", f"--fields={arguments.fields}"]
        found = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        )
        cost = f"{found['seconds']:6.1f} s   peak {found['megabytes']:4.0f} MB"
        print(f"{arguments.fields} {what:<11} {cost}   {found['note']}")
        for key, unit in (("seconds", "s"), ("megabytes", "MB")):
            row = {
                "name": f"split_{arguments.fields}_{what}_{key}",
                "value": found[key],
                "unit": unit,
            }
            rows.append(row | {"peer": None, "ratio_to_peer": None, "device": "cpu"})
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
