"""Every setting of a run: type, default, range, unit and meaning, each declared once.

A recipe in `configs/` returns a `Config`; `--config.SECTION.FIELD=VALUE` overrides one field,
and an unknown field or a wrong type is refused by name. `config.json` in a run's folder is the
resolved form, and the only one that programs read back.

To add a setting, add a field to its section: its range and its line of `--help` stand beside it.
"""

import dataclasses
import re
import sys
import textwrap
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hpa_jax.deprecations import accept_old_names, current_spelling
from hpa_jax.environment.dataset_names import bare_name, split_weight
from hpa_jax.environment.paths import expand_path
from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS, HPA_2018, MAX_LABELS, Vocabulary, named

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


def setting(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    or_zero: bool = False,
    choices: tuple[str, ...] = (),
    accepts: Callable[[Any], bool] | None = None,
    allowed: str = "",
    path: str = "",
) -> Any:
    """A field of a section, with what `check` and `--help` need to know of it.

    Args:
      default: immutable.
      help: what it sets, with its unit.
      at_least, above, at_most, below: the range of a number.
      or_zero: 0, which then switches something off, is allowed outside that range too.
      choices: in place of a range, the values that are allowed.
      accepts: in place of a range, a test of the value.
      allowed: what `accepts` lets pass, in words.
      path: "one" for a path, "listed" for several separated by commas: `expand_paths` replaces `~`.
    """
    bounds = {"at least": at_least, "above": above, "at most": at_most, "below": below}
    bounds = {word: bound for word, bound in bounds.items() if bound is not None}

    def in_range(value: float) -> bool:
        if or_zero and value == 0:
            return True
        # A NaN compares as False, so it is in no range.
        return all(_COMPARISONS[word](value, bound) for word, bound in bounds.items())

    if choices:
        accepts = choices.__contains__
        allowed = ", ".join(choice or "''" for choice in choices)
    elif accepts is None:
        accepts = in_range
        allowed = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items())
        if or_zero:
            allowed = f"0, or {allowed}"
    metadata = {"help": help, "accepts": accepts, "allowed": allowed, "path": path}
    return field(default=default, metadata=metadata)


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "at least": lambda value, bound: value >= bound,
    "above": lambda value, bound: value > bound,
    "at most": lambda value, bound: value <= bound,
    "below": lambda value, bound: value < bound,
}


def _are_sources(sources: tuple[str, ...]) -> bool:
    names = []
    for source in sources:
        versioned, weight = split_weight(source)
        name = bare_name(versioned)
        try:
            in_range = 1e-3 <= float(weight or 1) <= 1e3
        except ValueError:
            return False
        if not name or name in names or not in_range:
            return False
        names.append(name)
    return True


def _are_label_ids(labels: tuple[int, ...]) -> bool:
    each_once = len(set(labels)) == len(labels)
    return each_once and all(label in range(MAX_LABELS) for label in labels)


def _are_label_names(labels: tuple[str, ...]) -> bool:
    try:
        named(labels)
    except ValueError:
        return not labels
    return True


def _is_scale(scale: tuple[float, ...]) -> bool:
    return len(scale) == 2 and 0 < scale[0] <= scale[1]


def _is_window(text: str) -> bool:
    return not text or profile_window(text) is not None


def _is_address(text: str) -> bool:
    return re.fullmatch(r"(\S+:\d+)?", text) is not None


@accept_old_names("data")
@dataclass(slots=True)
class Data:
    """What is read, and how it is made into batches."""

    data_dir: str = setting(
        "data",
        "folder of the prepared datasets: --data_dir of python -m tfds_builder.hpa",
        path="one",
    )
    name: str = setting(
        "kaggle_512",
        "the dataset, NAME (its newest version) or NAME:VERSION; of several sources, the one to "
        "evaluate on and to export for",
    )
    sources: tuple[str, ...] = setting(
        (),
        "datasets to train on together, each NAME or NAME:WEIGHT (NAME as data.name), whose "
        "images are drawn WEIGHT times as often; (): data.name",
        accepts=_are_sources,
        allowed="NAME or NAME:WEIGHT, weights 0.001 to 1000, each name once",
    )
    train_split: str = setting(
        "train", "train, validation, test, or all of them together: the images to train on"
    )
    eval_split: str = setting(
        "validation",
        "the same: the images to evaluate on while training, and with --mode=evaluate and predict",
    )
    fold: int = setting(
        0, "the fold that validation means; train is then all other folds", at_least=0
    )
    image_size: int = setting(
        0,
        "px a side that the net sees; 0: as stored. The host resizes (area or bilinear)",
        at_least=32,
        at_most=8192,
        or_zero=True,
    )
    aspect: str = setting(
        "",
        "what becomes of images that are not square: pad (black beside them), crop (their middle), "
        "stretch (they are distorted); '': as the run was started, and a new run pads",
        choices=("", "pad", "crop", "stretch"),
    )
    batch_size: int = setting(32, "images per step, over all devices of all processes", at_least=1)
    channel_mix: str = setting(
        "rgby",
        "what the net sees of the four stored channels: one of CHANNEL_MIXES of "
        "hpa_jax.transforms.channel_mix, channels by name (green,blue), or a matrix with a row "
        "for each input of the net ([[0, 1, 0, 0], [0.5, 0, 0.5, 0]])",
    )
    labels: tuple[int, ...] = setting(
        (),
        "ids of the labels to learn; images with none of them are left out; (): all of the "
        "vocabulary",
        accepts=_are_label_ids,
        allowed="ids of the vocabulary's labels, from 0, each once",
    )
    vocabulary: tuple[str, ...] = setting(
        (),
        "names of all labels, by label id; a dataset's labels are found by these names. (): those "
        "of the dataset data.name, which config.json then lists",
        accepts=_are_label_names,
        allowed=f"up to {MAX_LABELS} names, each once",
    )
    # How many values they hold depends on other fields: check() has these rules.
    mean: tuple[float, ...] = setting(
        (),
        "mean of each stored channel as a fraction of 255: red, green, blue, yellow; four for each "
        "source; (): as computed when the dataset was built",
    )
    std: tuple[float, ...] = setting((), "standard deviations, as data.mean")
    input_mean: tuple[float, ...] = setting(
        (),
        "mean of each of the net's own input channels, for a pretrained net that expects "
        "ImageNet's; (): follows from data.mean",
    )
    input_std: tuple[float, ...] = setting((), "standard deviations, as data.input_mean")
    sampling: str = setting(
        "uniform",
        "how often an epoch shows an image: uniform; hpa_densenet (repeats those with a rare "
        "label); repeat_factor (LVIS); class_balanced (each label as often)",
    )
    rare_below: int = setting(
        350,
        "a label of fewer images of train_split is rare (350: the challenge's nine rarest)",
        at_least=1,
    )
    rare_copies: float = setting(
        4.0, "times that an epoch shows an image with a rare label (hpa_densenet)", at_least=1
    )
    repeat_threshold: float = setting(
        0.03,
        "fraction of the images below which a label is repeated (repeat_factor)",
        above=0,
        at_most=1,
    )
    threads: int = setting(4, "threads that decode, in each process", at_least=1)

    def named_vocabulary(self) -> Vocabulary:
        """All labels; as long as the section leaves them to the dataset, the 28 of 2018."""
        if not self.vocabulary:
            return HPA_2018
        return named(tuple(self.vocabulary))

    def label_ids(self) -> tuple[int, ...]:
        """Ids of the labels to learn, in the order of the logits."""
        return tuple(self.labels) or tuple(range(len(self.named_vocabulary())))

    def label_names(self) -> tuple[str, ...]:
        """Names of the labels to learn, in the order of the logits."""
        names = self.named_vocabulary().labels
        return tuple(names[label] for label in self.label_ids())

    def source_names(self) -> tuple[str, ...]:
        """The datasets to train on."""
        names = tuple(split_weight(source)[0] for source in self.sources)
        return names or (self.name,)

    def source_weights(self) -> tuple[float, ...]:
        """How often an image of each dataset is drawn, relative to one of weight 1."""
        weights = tuple(float(split_weight(source)[1] or 1) for source in self.sources)
        return weights or (1.0,)


@accept_old_names("model")
@dataclass(slots=True)
class Model:
    """The net, and the weights that it starts from."""

    name: str = setting("densenet121", "the backbone: one of hpa_jax.models.BACKBONES")
    head: str = setting(
        "pooled",
        "hpa_densenet (the baseline's: flatten, for one image size), pooled (mean and max, for any "
        "size), linear, norm_linear (ConvNeXts': a layer norm before it), all_cnn (that net's "
        "own), attention (learned weights of places or tiles)",
    )
    pretrained: str = setting(
        "",
        "weights to start from: a file, or one of hpa_jax.pretrained.SOURCES; '': random",
        path="one",
    )
    stem: str = setting(
        "copy_red",
        "how a first convolution of three inputs is made to take the channel mix: copy_red, mean, "
        "repeat (hpa_jax.pretrained)",
    )
    dropout: float = setting(
        0.5, "fraction of the head's inputs that is dropped", at_least=0, below=1
    )
    stochastic_depth: float = setting(
        0.0,
        "fraction of the images that go past the last block of a ConvNeXt in training, past "
        "earlier ones fewer; its paper has 0.1 for convnext_tiny, 0.4 for convnext_small",
        at_least=0,
        below=1,
    )
    dtype: str = setting(
        "bfloat16",
        "of the arithmetic: bfloat16 or float32; parameters, statistics and logits are float32",
    )
    bn_momentum: float = setting(
        0.9, "fraction of the running statistics that a step keeps", at_least=0, below=1
    )
    block: str = setting(
        "plain",
        "how a DenseNet's blocks are computed, to the same numbers: plain, remat (less memory, "
        "more arithmetic), fused (fewest bytes moved); an export is always plain",
    )
    tile: int = setting(
        0,
        "px a side of the tiles that the head attention weighs; 0: the image at once",
        at_least=32,
        at_most=4096,
        or_zero=True,
    )


@dataclass(slots=True)
class Augment:
    """Drawn anew for each image, on the device."""

    flips: bool = setting(True, "one of the eight symmetries of the square")
    rotate_degrees: float = setting(
        0.0, "rotation by up to so many degrees either way", at_least=0, at_most=180
    )
    scale: tuple[float, float] = setting(
        (1.0, 1.0),
        "smallest and largest side of the window that is zoomed to the full image, as fractions",
        accepts=_is_scale,
        allowed="(low, high), 0 < low <= high",
    )
    only_rare: bool = setting(
        False, "augment only images with a rare label (data.rare_below), as the baseline does"
    )
    channel_dropout: float = setting(
        0.0,
        "probability that red, blue, yellow, each by itself, is set to black; green never is",
        at_least=0,
        below=1,
    )
    shift: float = setting(
        0.0,
        "the window's center moves by up to this fraction of the side (with scale < 1: a crop)",
        at_least=0,
        at_most=0.5,
    )
    protein_contrast: float = setting(
        0.0,
        "probability that green, the protein, is made 0 to 2 times as bright as white over the "
        "image's brightest pixel (FINO: 0.2)",
        at_least=0,
        at_most=1,
    )
    contrast: float = setting(
        0.0,
        "standard deviation of the factor, around 1, by which each channel moves away from its "
        "mean (FINO: 0.2)",
        at_least=0,
        at_most=1,
    )
    brightness: float = setting(
        0.0,
        "standard deviation of the factor, around 1, by which each channel is multiplied (FINO: "
        "0.2)",
        at_least=0,
        at_most=1,
    )
    mixup: float = setting(
        0.0,
        "alpha of the beta distribution by which two images are averaged and learnt as both; 0: "
        "never",
        at_least=0.01,
        at_most=100,
        or_zero=True,
    )
    cutmix: float = setting(
        0.0,
        "the same where a box of one image is put into the other; with mixup, half of the batches "
        "each",
        at_least=0.01,
        at_most=100,
        or_zero=True,
    )
    mix_probability: float = setting(
        1.0, "fraction of the batches that mixup and cutmix mix", above=0, at_most=1
    )


@dataclass(slots=True)
class Optim:
    """The optimizer and its learning rate."""

    name: str = setting("adam", "adam, adamw, sgd (Nesterov, momentum b1)")
    lr: float = setting(0.01, "peak learning rate (0.01: the baseline's)", above=0)
    schedule: str = setting(
        "constant", "one of hpa_jax.optim.optimizer.SCHEDULES, by Optax's own names"
    )
    schedule_options: str = setting(
        "{}", 'its further arguments, by Optax\'s names: {"warmup_steps": 500}'
    )
    b1: float = setting(0.9, "decay of the first moment; sgd's momentum", at_least=0, below=1)
    b2: float = setting(0.999, "decay of the second moment", at_least=0, below=1)
    # Keras's default, with which the baseline's Adam ran; Optax's own is 1e-8.
    eps: float = setting(1e-7, "Adam's epsilon")
    weight_decay: float = setting(
        0.0, "of kernels, decoupled from the gradient (adamw only)", at_least=0
    )
    clip: float = setting(
        0.0, "largest global norm of the gradient; 0: it is not clipped", at_least=0
    )
    accumulate: int = setting(
        1,
        "steps whose mean gradient makes one update; each has batch statistics of its own",
        at_least=1,
    )
    backbone_lr: float = setting(
        1.0, "learning rate of the backbone, as a fraction of the head's", at_least=0
    )
    freeze_backbone: int = setting(
        0, "steps at the start in which only the head learns", at_least=0
    )
    plateau_patience: int = setting(
        0,
        "evaluations without a better checkpoint.metric until the learning rate is multiplied by "
        "plateau_factor; 0: never",
        at_least=0,
    )
    plateau_factor: float = setting(
        0.1, "factor on the learning rate at a plateau", above=0, below=1
    )


@accept_old_names("train")
@dataclass(slots=True)
class Train:
    """How long, on which loss, and what is logged."""

    epochs: float = setting(30.0, "passes over train_split", above=0)
    steps: int = setting(0, "if above 0: so many steps, in place of epochs", at_least=0)
    seed: int = setting(0, "of weights, order, augmentation and dropout", at_least=0)
    loss: str = setting(
        "bce",
        "one of hpa_jax.optim.losses.LOSSES, or a weighted sum of them: focal:0.5,lovasz:0.5; "
        "softmax_cross_entropy where every image has exactly one label, of which the net then "
        "decides for the most probable",
    )
    prior_bias: bool = setting(
        False,
        "scores start at each label's frequency in train_split, not at 0.5 (arXiv:1708.02002, 4.1)",
    )
    retrain_head: str = setting(
        "",
        "a finished run's folder: its backbone stays as it is, and a new head is trained on it "
        "(cRT, arXiv:1910.09217); '': the entire net is trained",
        path="one",
    )
    log_every: int = setting(
        20,
        "steps between log lines, at which the host waits for the devices",
        at_least=1,
    )
    eval_every: int = setting(
        0,
        "steps between evaluations; 0: once an epoch. The last step is always evaluated",
        at_least=0,
    )
    ema: float = setting(
        0.0,
        "decay of the moving average of the weights, which is then what is evaluated and exported; "
        "0: none",
        at_least=0,
        below=1,
    )
    ema_batches: int = setting(
        32, "training batches from which the average's batch statistics are estimated", at_least=1
    )
    stop_after: int = setting(
        0,
        "evaluations without a better checkpoint.metric after which training ends; 0: never",
        at_least=0,
    )
    tracker: str = setting(
        "tensorboard",
        "where metrics are shown besides metrics.jsonl: tensorboard (WORKDIR/tensorboard); wandb "
        "(Weights & Biases, which is told by its own variables, such as WANDB_MODE=offline); none",
        choices=("tensorboard", "wandb", "none"),
    )
    profile: str = setting(
        "",
        "START:STOP: writes a trace of those steps (from 0, without STOP) to WORKDIR/profile",
        accepts=_is_window,
        allowed="START:STOP, steps, 0 <= START < STOP",
    )


@dataclass(slots=True)
class Loss:
    """Settings of hpa_jax.optim.losses, each of one loss."""

    positive_power: float = setting(
        0.5,
        "weighted: the weight of positives is (negatives / positives) to this power",
        at_least=0,
        at_most=4,
    )
    positive_limit: float = setting(
        100.0, "weighted: the largest weight of positives", at_least=1, at_most=1e6
    )
    focal_gamma: float = setting(
        2.0, "focal: exponent that lowers the loss of easy pairs", at_least=0, at_most=20
    )
    focal_alpha: float = setting(
        -1.0, "focal: weight of positives, 1 - alpha of negatives; below 0: both 1", at_most=1
    )
    asymmetric_gamma_positive: float = setting(
        0.0, "asymmetric: the exponent of positives", at_least=0, at_most=20
    )
    asymmetric_gamma_negative: float = setting(
        4.0, "asymmetric: the exponent of negatives", at_least=0, at_most=20
    )
    asymmetric_clip: float = setting(
        0.05,
        "asymmetric: scores of negatives are lowered by so much, down to 0",
        at_least=0,
        below=1,
    )
    ldam_margin: float = setting(
        0.5,
        "ldam: the margin of the rarest label, in units of logits; others have less, by the fourth "
        "root of their images",
        at_least=0,
        at_most=100,
    )
    ldam_scale: float = setting(1.0, "ldam: factor on the logits", above=0, at_most=1000)
    ldam_beta: float = setting(
        0.9999,
        "ldam: of the weights (1 - beta) / (1 - beta^images) that labels get late; 0: all 1",
        at_least=0,
        below=1,
    )
    ldam_reweight_after: float = setting(
        0.8,
        "ldam: fraction of the run's steps after which they get them; 0: at once, 1: never",
        at_least=0,
        at_most=1,
    )


@dataclass(slots=True)
class Checkpoint:
    """When the run is saved, and what is kept."""

    every: int = setting(
        0, "steps between saves; 0: only with each evaluation, which always saves", at_least=0
    )
    keep: int = setting(2, "latest checkpoints that are kept, besides the best", at_least=1)
    metric: str = setting(
        "macro_f1",
        "of the evaluation; the largest is the best. With train.loss=softmax_cross_entropy: "
        "accuracy, mean_class_accuracy or macro_f1",
    )


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
        "the table, .csv, .parquet, .h5ad or .npy; '': predictions.csv in WORKDIR, or OUT",
        path="one",
    )
    overlays: str = setting(
        "", "folder for a PNG an image with what the net looked at; '': none", path="one"
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


@dataclass(slots=True)
class Devices:
    """The devices and processes of a run. What is learned does not depend on them."""

    space: int = setting(
        0,
        "devices over which the height of each image is sharded; 0: as few as the batch needs",
        at_least=0,
    )
    processes: int = setting(
        0, "of the run; 0: as the cluster says (Cloud TPU, Slurm, ...), or one", at_least=0
    )
    process: int = setting(-1, "index of this process, from 0; -1: as the cluster says")
    coordinator: str = setting(
        "",
        "HOST:PORT of process 0; '': as the cluster says",
        accepts=_is_address,
        allowed="HOST:PORT",
    )
    timeout_s: int = setting(
        300,
        "seconds without progress of a process after which the run ends and names it",
        at_least=10,
    )


@accept_old_names("plan")
@dataclass(slots=True)
class Plan:
    """What --mode=plan compiles."""

    topologies: str = setting(
        "v5e:2x4",
        "TPU slices to compile for, separated by commas; here: the devices at hand, measured",
    )
    search: bool = setting(False, "also find the largest batch that fits (powers of two)")
    images: int = setting(
        0,
        "in an epoch; 0: those of data.train_split, or the challenge's 31,072 if it is not built",
        at_least=0,
    )
    effort: float = setting(
        -1.0,
        "of the compiler: -1 is quickest; 0, its default, is slower and has better memory numbers",
        at_least=-1,
        at_most=1,
    )


@dataclass(slots=True)
class Verify:
    """What --mode=verify does besides checking."""

    seal: bool = setting(
        False,
        "a run of an older version gets manifests and a record, which tell from then on whether it "
        "is as it was",
    )


@dataclass(slots=True)
class Sweep:
    """What --mode=sweep searches, over the ranges of the recipe's search_space()."""

    trials: int = setting(
        20, "runs in all, those of earlier starts and of other workers included", at_least=1
    )
    random: int = setting(
        10, "runs whose values are drawn at random, before Optuna's TPE proposes any", at_least=1
    )
    prune_after: int = setting(
        5,
        "finished runs before one may be stopped whose best evaluation so far is below their "
        "median at that step; 0: none is stopped",
        at_least=0,
    )
    prune_from: int = setting(0, "steps before which no run is stopped", at_least=0)
    seed: int = setting(0, "of the values that are proposed", at_least=0)


@dataclass(slots=True)
class Config:
    """A run, in sections."""

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    loss: Loss = field(default_factory=Loss)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    evaluate: Evaluate = field(default_factory=Evaluate)
    export: Export = field(default_factory=Export)
    predict: Predict = field(default_factory=Predict)
    probe: Probe = field(default_factory=Probe)
    report: Report = field(default_factory=Report)
    devices: Devices = field(default_factory=Devices)
    plan: Plan = field(default_factory=Plan)
    verify: Verify = field(default_factory=Verify)
    sweep: Sweep = field(default_factory=Sweep)

    def label_ids(self) -> tuple[int, ...]:
        """As `Data.label_ids`."""
        return self.data.label_ids()

    def label_names(self) -> tuple[str, ...]:
        """As `Data.label_names`."""
        return self.data.label_names()

    def source_names(self) -> tuple[str, ...]:
        """As `Data.source_names`."""
        return self.data.source_names()

    def source_weights(self) -> tuple[float, ...]:
        """As `Data.source_weights`."""
        return self.data.source_weights()


def listed(text: str) -> tuple[str, ...]:
    """The items of a field that lists names or folders separated by commas."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def expand_paths(config: Config) -> Config:
    """The configuration with `~` replaced in its paths; `config` is not changed.

    Raises:
      InputError: a path is a URL, or names a home folder that is not known.
    """
    sections = {}
    for section_field in dataclasses.fields(config):
        section = getattr(config, section_field.name)
        expanded = {}
        for item in dataclasses.fields(section):
            kind = item.metadata["path"]
            value = getattr(section, item.name)
            name = f"config.{section_field.name}.{item.name}"
            if kind == "one":
                expanded[item.name] = expand_path(value, name)
            elif kind == "listed":
                paths = [expand_path(path, name) for path in value.split(",")]
                expanded[item.name] = ",".join(paths)
        sections[section_field.name] = dataclasses.replace(section, **expanded)
    return Config(**sections)


def profile_window(text: str) -> tuple[int, int] | None:
    """(START, STOP) of `train.profile`; None for any other text."""
    match = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)
    if match is None:
        return None
    start, stop = map(int, match.groups())
    return (start, stop) if start < stop else None


RUN = "run"
"""The one key of config.json that is no section: what the run is (`hpa_jax.workdir.RunRecord`)."""


def to_dict(config: Config) -> dict:
    """The resolved form that `config.json` holds: nested dicts, tuples as lists."""
    sections = dataclasses.asdict(config)
    for values in sections.values():
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = list(value)
    return sections


def from_dict(sections: dict) -> Config:
    """The inverse of `to_dict`; old spellings are translated, missing fields take their defaults.

    What `hpa_jax.workdir` keeps beside the sections, under the key RUN, is passed over.

    Raises:
      InputError: names a field that is unknown, or has a value of another type.
    """
    config = Config()
    known_sections = _field_types(config)
    for section_name, values in sections.items():
        if section_name == RUN:
            continue
        if section_name not in known_sections or not isinstance(values, dict):
            raise InputError(
                f"{section_name!r} is no section of a configuration; "
                "was it written by another version?"
            )
        section = getattr(config, section_name)
        known = _field_types(section)
        for old_name, value in values.items():
            setting_name, value = current_spelling(f"{section_name}.{old_name}", value, warn=False)
            if setting_name is None:
                continue
            name = setting_name.rpartition(".")[2]
            if name not in known:
                raise InputError(
                    f"{setting_name} is no field of a configuration; "
                    "was it written by another version?"
                )
            if isinstance(value, list):
                value = tuple(value)
            if not _is_of_type(value, known[name]):
                raise InputError(f"config.{setting_name}={value!r} is of another type")
            setattr(section, name, value)
    return config


def _is_of_type(value: Any, wanted: Any) -> bool:
    """Whether a value from JSON is of the type that a field is declared with."""
    if typing.get_origin(wanted) is tuple:
        item_type = typing.get_args(wanted)[0]
        return isinstance(value, tuple) and all(_is_of_type(item, item_type) for item in value)
    if wanted is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is wanted


def _field_types(section: Any) -> dict[str, Any]:
    return {item.name: item.type for item in dataclasses.fields(section)}


def differences(a: Config, b: Config) -> dict[str, tuple]:
    """`{'section.field': (value in a, value in b)}` for each field in which they differ."""
    sections_a = to_dict(a)
    sections_b = to_dict(b)
    differing = {}
    for section, values in sections_a.items():
        for name, value in values.items():
            other = sections_b[section][name]
            if value != other:
                differing[f"{section}.{name}"] = (value, other)
    return differing


def check(config: Config) -> None:
    """Refuses values out of range, which no type can.

    Names of nets, losses and the like are checked where their tables are.

    Raises:
      InputError: names the field, its value, and what is allowed.
    """
    for section_field in dataclasses.fields(config):
        section = getattr(config, section_field.name)
        for item in dataclasses.fields(section):
            value = getattr(section, item.name)
            if not item.metadata["accepts"](value):
                name = f"{section_field.name}.{item.name}"
                raise _out_of_range(name, value, item.metadata["allowed"])
    check_label_ids(config.data)
    _check_channel_statistics(config.data)
    devices = config.devices
    if not -1 <= devices.process < max(1, devices.processes):
        allowed = "0 to below config.devices.processes; -1: as the cluster says"
        raise _out_of_range("devices.process", devices.process, allowed)


def check_label_ids(data: Data) -> None:
    """Refuses ids of labels that the vocabulary does not have, once that is known.

    Raises:
      InputError: names them.
    """
    if not data.vocabulary:
        return
    known = len(data.vocabulary)
    if any(label >= known for label in data.labels):
        name = data.named_vocabulary().name
        raise _out_of_range("data.labels", data.labels, f"ids 0 to {known - 1} of {name}")


def _check_channel_statistics(data: Data) -> None:
    for_every_source = len(CHANNELS) * len(data.source_names())
    if len(data.mean) not in (0, len(CHANNELS), for_every_source):
        allowed = "four fractions of 255 for each source"
        raise _out_of_range("data.mean", data.mean, allowed)
    # The same bounds as of a dataset's own (hpa_jax.data.metadata.statistics_fault).
    if not all(0 <= value <= 1 for value in data.mean):
        raise _out_of_range("data.mean", data.mean, "fractions of 255, from 0 to 1")
    if not _are_stds(data.std, data.mean, at_most=1):
        allowed = "as many fractions of 255 above 0 as data.mean has, none above 1"
        raise _out_of_range("data.std", data.std, allowed)
    # Inputs may be weighted sums, or in other units: these bounds tell values from rubbish.
    if not all(-_LARGEST_INPUT <= value <= _LARGEST_INPUT for value in data.input_mean):
        allowed = f"values from {-_LARGEST_INPUT:g} to {_LARGEST_INPUT:g}"
        raise _out_of_range("data.input_mean", data.input_mean, allowed)
    if not _are_stds(data.input_std, data.input_mean, at_most=_LARGEST_INPUT):
        allowed = f"as many values above 0 as data.input_mean has, up to {_LARGEST_INPUT:g}"
        raise _out_of_range("data.input_std", data.input_std, allowed)


_LARGEST_INPUT = 1e4


def _are_stds(std: tuple[float, ...], mean: tuple[float, ...], *, at_most: float) -> bool:
    # Written so that a NaN is refused.
    return len(std) == len(mean) and all(0 < value <= at_most for value in std)


def _out_of_range(name: str, value: Any, allowed: str) -> InputError:
    return InputError(f"config.{name}={value!r} is out of range; allowed: {allowed}")


def help_text() -> str:
    """Every setting as the flag that sets it, with its default, what it means and its range."""
    lines = []
    for section_field in dataclasses.fields(Config):
        section = section_field.default_factory
        lines += ["", f"{section_field.name}: {section.__doc__}"]
        for item in dataclasses.fields(section):
            lines.append(f"  --config.{section_field.name}.{item.name}={item.default!r}")
            meaning = item.metadata["help"]
            if item.metadata["allowed"]:
                meaning += f" [{item.metadata['allowed']}]"
            lines.append(
                textwrap.indent(textwrap.fill(meaning, 90, break_on_hyphens=False), " " * 6)
            )
    return "\n".join(lines)
