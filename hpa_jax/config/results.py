"""The sections of what a finished run is asked for: figures, exports, tables, pages."""

from dataclasses import dataclass

from hpa_jax.config.setting import setting


@dataclass(slots=True)
class Evaluate:
    """How scores are made, evaluated, and turned into labels."""

    scores: str = setting(
        "",
        "a .npy file, float [N, L]: evaluates anyone's scores, no model needed; several, separated "
        "by commas: as an ensemble",
        path="listed",
    )
    targets: str = setting("", "a .npy file, 0/1 [N, L], to go with scores", path="one")
    groups: str = setting(
        "",
        "a .npy file, int [N], to go with scores: images of one number are no independent "
        "evidence; '': all are",
        path="one",
    )
    labels: str = setting(
        "",
        "names of the columns of scores: hpa2018, hpa2021, subcell, or a file with a name in each "
        "line; '': "
        "28 columns are those of hpa2018, and others have numbers",
        path="one",
    )
    single_label: bool = setting(
        False,
        "of scores: every image has exactly one label, the one with the largest score; a run knows "
        "it by train.loss",
    )
    folds: int = setting(5, "of the cross-fitted thresholds and temperature", at_least=2)
    seed: int = setting(0, "of the folds and of the bootstrap")
    checkpoint: str = setting("best", "best, latest, or a step: for evaluate, predict and export")
    tta: str = setting(
        "none",
        "test-time augmentation of evaluate and predict: none, or symmetries (mean score of the "
        "eight symmetries of the square)",
    )
    crops: int = setting(
        0,
        "test-time crops of crop_side, zoomed: 1 (center) or 5 (and corners); 0: the full image",
    )
    crop_side: float = setting(0.875, "side of a crop, as a fraction of the image's")
    combine: str = setting("mean", "of the scores of the crops: mean, max")
    few_positives: int = setting(
        5,
        "the threshold of a label with fewer positives than this is shrunk toward the other "
        "labels' (a regression on prevalence)",
    )
    fill_empty: bool = setting(
        False, "an image above no threshold gets the label that is nearest to its own"
    )
    replicates: int = setting(1000, "of the bootstrap; 0: no intervals")
    level: float = setting(0.95, "coverage of the intervals")
    sources: str = setting(
        "", "datasets to evaluate on, separated by commas, each with a row; '': data.name"
    )
    label_map: str = setting(
        "",
        "evaluates a run on data of another vocabulary, over the common labels: published (of "
        "hpa2018, subcell, hpa2021), or a csv with the columns net,data; '': the run's labels",
        path="one",
    )
    runs: str = setting(
        "",
        "folders of runs to evaluate or predict with as an ensemble, separated by commas",
        path="listed",
    )


LICENCES = (
    "Apache-2.0",
    "BSD-3-Clause",
    "CC-BY-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "MIT",
)
"""That an export can be given, by their SPDX identifiers."""


@dataclass(slots=True)
class Export:
    """Where an export goes, and what is in it."""

    folder: str = setting("", "folder of the export; '': WORKDIR/export, or OUT/export", path="one")
    onnx: str = setting(
        "float32",
        "weights of model.onnx: float32; fp16 (half the size); int8 (a quarter, other scores); "
        "none: no such file",
        choices=("float32", "fp16", "int8", "none"),
    )
    bioimageio: bool = setting(
        True, "also a package for bioimage.io, which holds model.onnx once more; with export.onnx"
    )
    torchvision: bool = setting(
        True, "of a DenseNet or ConvNeXt also its weights as torchvision's module loads them"
    )
    temperature: bool = setting(
        False,
        "probabilities at a temperature, fitted on the stored scores of the split of the "
        "thresholds, which move along (--mode=evaluate stores scores); of one label an image: of "
        "the split that training evaluated",
    )
    licence: str = setting(
        "",
        "of the weights, for the model card and the package, by its SPDX identifier; '': not "
        "stated (docs/licence_of_data.md)",
        choices=("", *LICENCES),
    )
    authors: str = setting("", "names for the same, separated by commas; '': not stated")


@dataclass(slots=True)
class Predict:
    """A folder of images to predict, in place of a prepared dataset."""

    images: str = setting(
        "",
        "a folder or zip of images, with no csv and no build; '': config.data.eval_split",
        path="one",
    )
    out: str = setting(
        "",
        "the table, .csv, .parquet, .h5ad or .npy; '': predictions.csv in WORKDIR, or OUT; with "
        "cells: cells.csv",
        path="one",
    )
    overlays: str = setting(
        "", "folder for a PNG an image with what the net looked at; '': none", path="one"
    )
    cells: bool = setting(False, "a row for each cell of each image, not for each image")
    masks: str = setting(
        "",
        "of cells: folder of label images named by Ids; '': cells are segmented",
        path="one",
    )
    cell_window: str = setting(
        "",
        "of cells, what a crop shows: repeat (a cell as large as in a field, and its mirror images "
        "around it), field (without these), box (each cell fills the crop), or a side in px of the "
        "images; '': repeat, and of a net that learned from cells as it did",
    )
    keep_neighbours: bool = setting(False, "of cells: other cells in a crop are not made black")
    skip_border: bool = setting(
        False, "of cells: those that touch the border of their image are left out"
    )
    pool: str = setting(
        "",
        "of cells, how the scores of an image's cells become one: mean, max, attention; '': "
        "attention where the net has learnt it, else mean",
        choices=("", "mean", "max", "attention"),
    )
    pattern: str = setting(
        "", "of the files' names, '{id}_{channel}.tif' or '{id}.tif'; '': found from the names"
    )
    channels: str = setting(
        "", "your names of the channels, red=tubulin,green=gfp,...; '': the usual ones"
    )
    order: str = setting(
        "", "the channel of each plane of a file that holds several: blue,green,red,yellow"
    )
    missing: str = setting("", "channels that were not imaged, which the net sees black: yellow")
    white: int = setting(
        0, "the value that becomes 255; 0: as in the training set", at_least=0, at_most=65535
    )
    pixel_size: float = setting(
        0.0,
        "of the images, in micrometres; 0: as the files say",
        at_least=0.001,
        at_most=100,
        or_zero=True,
    )
    projection: str = setting(
        "",
        "of z-stacks: max or mean; '': they are refused",
        choices=("", "max", "mean"),
    )
    float_range: str = setting("", "LOW,HIGH: the floating-point values that become 0 and 255")
    follow_links: bool = setting(False, "follow links that lead out of the folder")
    policy: str = setting(
        "strict",
        "strict: stop at an image that cannot be read; skip: leave it out and list it",
        choices=("strict", "skip"),
    )


@dataclass(slots=True)
class Segment:
    """How --mode=segment finds the cells of config.data.eval_split, one by one."""

    method: str = setting(
        "classical", "what finds them: one of hpa_jax.serving.segment.methods.METHODS"
    )
    weights: str = setting(
        "", "folder of an export, of a method that was trained; '': it has none", path="one"
    )
    scale: float = setting(
        0.0,
        "of a method that was trained: the factor by which images are scaled before it sees them; "
        "0: so that nuclei are as large as those it was trained on",
        at_least=0.02,
        at_most=4,
        or_zero=True,
    )
    masks: str = setting(
        "",
        "folder of label images by another program, in place of a method; '': none",
        path="one",
    )
    format: str = setting("png", "of the masks, 16 bits", choices=("png", "tif"))
    policy: str = setting(
        "strict",
        "strict: stop at an image that cannot be read; skip: leave it out and list it",
        choices=("strict", "skip"),
    )


@dataclass(slots=True)
class Probe:
    """What --mode=probe fits on frozen embeddings; the defaults are SubCell's protocol."""

    export: str = setting(
        "", "folder of an export whose net embeds; '': the run in WORKDIR", path="one"
    )
    embeddings: str = setting(
        "",
        "a .npy file, [N, F], or an .h5ad whose X that is: probes anyone's embeddings, no net "
        "needed",
        path="one",
    )
    targets: str = setting("", "a .npy file, 0/1 [N, L], to go with embeddings", path="one")
    groups: str = setting(
        "",
        "a .npy file, int [N], to go with embeddings: rows of one number (an antibody, a "
        "specimen) are no independent evidence; '': all are",
        path="one",
    )
    splits: str = setting(
        "",
        "a .npy file, int [N], to go with embeddings: 0 to fit on, 1 to choose the epoch with, 2 "
        "to score on; '': 70, 10 and 20 % of the rows, by groups, at random",
        path="one",
    )
    labels: str = setting(
        "",
        "names of the columns of targets: hpa2018, hpa2021, or a file with a name in each line; "
        "'': numbers",
        path="one",
    )
    split: str = setting(
        "test",
        "of data.name, to score on; data.train_split is fitted on, and data.eval_split chooses "
        "the epoch",
    )
    lr: float = setting(1e-3, "learning rate of the first epoch", above=0, at_most=1)
    batch_size: int = setting(8192, "rows a step", at_least=1)
    epochs: int = setting(200, "at most so many", at_least=1)
    standardize: bool = setting(
        True, "features to mean 0 and std 1 over the rows to fit on; SubCell's are as they are"
    )
    seed: int = setting(
        0,
        "the first seed: of weights, order, dropout, of an untrained net, and of splits at random",
        at_least=0,
    )
    seeds: int = setting(1, "fits, whose metrics are averaged; SubCell has 10", at_least=1)


@dataclass(slots=True)
class Report:
    """What a report shows."""

    compare: str = setting(
        "", "folders of runs to show beside WORKDIR's, separated by commas", path="listed"
    )
