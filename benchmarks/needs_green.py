"""Does a trained net look at the protein? Its macro F1 with each field's own green channel, and with another field's.

    python benchmarks/needs_green.py --workdir=RUN [--without_green=RUN2] [--split=test] [--json=FILE]

RUN is a finished run. RUN2, if given, is one that was trained on red, blue and yellow alone (the same command with
--config.data.channel_mix=red,blue,yellow and another workdir). The peer is guessing: the net's own decisions,
dealt out to the fields at random (the mean of 20 deals), which keeps how often each label is predicted.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from hpa_jax.data import pipeline
from hpa_jax.evaluation.predictor import load_run
from hpa_jax.labels import CHANNELS
from hpa_jax.metrics.classification import macro_f1
from hpa_jax.workdir import read_config

GREEN = CHANNELS.index("green")


def own_green(dataset):
    return (dataset.image(i) for i in range(len(dataset)))


def anothers_green(dataset):
    """The images, each with the green channel of the next one."""
    for i in range(len(dataset)):
        image = dataset.image(i).copy()
        image[..., GREEN] = dataset.image((i + 1) % len(dataset))[..., GREEN]
        yield image


def guessing(predicted, targets, deals=20):
    rng = np.random.default_rng(0)
    return float(np.mean([macro_f1(rng.permutation(predicted), targets) for _ in range(deals)]))


def rows_of(workdir, split, views):
    config = read_config(workdir)
    predictor, dataset = load_run(workdir), pipeline.open_split(config.data, split)
    targets = dataset.targets() > 0
    for name, images_of in views:
        predicted = predictor(images_of(dataset)) > 0.5
        yield name, macro_f1(predicted, targets), guessing(predicted, targets)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--without_green", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    found = list(
        rows_of(
            arguments.workdir,
            arguments.split,
            (("own_green", own_green), ("anothers_green", anothers_green)),
        )
    )
    if arguments.without_green:
        found += rows_of(
            arguments.without_green, arguments.split, (("red_blue_yellow_alone", own_green),)
        )
    rows = []
    print(f"macro F1 at 0.5 on {arguments.split}")
    for name, value, guess in found:
        ratio = value / guess if guess else None
        print(
            f"  {name:<22} {value:.4f}   guessing {guess:.4f}"
            + (f"   {ratio:.2f} times guessing" if ratio else "")
        )
        row = {
            "name": f"macro_f1_{name}",
            "value": value,
            "unit": "F1",
            "peer": "guessing",
            "peer_value": guess,
        }
        rows.append(row | {"ratio_to_peer": ratio, "device": "any"})
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
