"""Every knob of a run, typed, with its unit.

A recipe in `configs/` returns a `Config`; `--config.SECTION.FIELD=VALUE` overrides one field, and an unknown field or a
wrong type is refused by name. `config.json` in a run's folder is the resolved form, and the only one that programs read
back.
"""

import dataclasses
import re
from dataclasses import dataclass, field

from hpa_jax.errors import InputError
from hpa_jax.labels import CHANNELS, LABELS


@dataclass(slots=True)
class Data:
    """What is read, and how it is cut into batches."""

    data_dir: str = "data"  # what `python -m tfds_builder.hpa` was given as --data_dir
    name: str = (
        "kaggle_512"  # the dataset; of several sources, the one that is evaluated and exported for
    )
    # Datasets to train on together, each "NAME" or "NAME:WEIGHT": its fields are drawn WEIGHT times as often. (): name
    sources: tuple[str, ...] = ()
    train_split: str = "train"  # train, validation, test, or all (their union)
    eval_split: str = (
        "validation"  # the same; evaluated while training, and by --mode=evaluate and predict
    )
    fold: int = 0  # the fold that `validation` means; the other folds are then `train`
    image_size: int = (
        0  # px a side that the net sees; 0: as stored. The host resizes (area or bilinear)
    )
    batch_size: int = 32  # over all devices of all processes
    # What the net sees of the four stored channels: one of hpa_jax.transforms.channel_mix.CHANNEL_MIXES,
    # channels by name ("green,blue"), or a matrix with a row for each of the net's channels
    # ("[[0, 1, 0, 0], [0.5, 0, 0.5, 0]]")
    channel_mix: str = "rgby"
    labels: tuple[int, ...] = ()  # label ids to learn, and fields that bear one of them; (): all 28
    # Mean and deviation of each stored channel as shares of 255, in the order red, green, blue, yellow; with several
    # sources, four for each. (): those that the build computed for each source
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    # The same of the net's own channels, where they are not to follow from those above: ImageNet's for an ImageNet net
    input_mean: tuple[float, ...] = ()
    input_std: tuple[float, ...] = ()
    sampling: str = (
        "uniform"  # uniform, seed (repeat fields with a rare label), repeat_factor (LVIS)
    )
    rare_below: int = (
        350  # fields of the part; a label that fewer bear is rare: the challenge's nine rarest
    )
    rare_copies: float = 4.0  # times that an epoch shows a field with a rare label (sampling=seed)
    repeat_threshold: float = (
        0.03  # share of the fields below which a label is repeated (sampling=repeat_factor)
    )
    threads: int = 4  # that decode, in each process

    def label_ids(self) -> tuple[int, ...]:
        """The labels of this run, ids in the order of the logits."""
        return tuple(self.labels) or tuple(range(len(LABELS)))

    def source_names(self) -> tuple[str, ...]:
        """The datasets to train on."""
        names = tuple(source.partition(":")[0] for source in self.sources)
        return names or (self.name,)

    def source_weights(self) -> tuple[float, ...]:
        """How often an image of each source is drawn, relative to one of weight 1."""
        weights = tuple(float(source.partition(":")[2] or 1) for source in self.sources)
        return weights or (1.0,)


@dataclass(slots=True)
class Model:
    name: str = "densenet121"  # one of hpa_jax.models.BACKBONES
    # seed (the study's: flatten), pooled (mean and max; any image size), linear, all_cnn (that net's own), attention (a
    # learnt weighting of places, or of tiles)
    head: str = "pooled"
    pretrained: str = ""  # weights to start from: a file, or one of hpa_jax.pretrained.SOURCES; '': drawn at random
    # How a first convolution for three channels is made to take the mix's: copy_red, mean, repeat (hpa_jax.pretrained)
    stem: str = "copy_red"
    dropout: float = 0.5
    dtype: str = "bfloat16"  # of the arithmetic; parameters, statistics and logits are float32
    bn_momentum: float = 0.9  # share of the running statistics that a step keeps
    # How a DenseNet's blocks are computed, the same numbers each time: plain, remat (less memory, more arithmetic),
    # fused (fewest bytes moved; hpa_jax.models.fused.dense_block). What is exported is always plain
    block: str = "plain"
    # px a side of the tiles that a field is cut into, which the head `attention` weighs; 0: the whole field at once
    tile: int = 0


@dataclass(slots=True)
class Augment:
    """Drawn anew for each image, on the device."""

    flips: bool = True  # one of the eight symmetries of the square
    rotate_degrees: float = 0.0  # free rotation by up to so much either way
    scale: tuple[float, float] = (
        1.0,
        1.0,
    )  # side of the window that is zoomed to the full image, as a share
    only_rare: bool = (
        False  # augment fields with a rare label (data.rare_below) alone, as the seed study does
    )
    channel_dropout: float = (
        0.0  # chance that red, blue, yellow, each for itself, is shown black; green never
    )
    shift: float = (
        0.0  # the window's centre moves by up to this share of the side (with scale < 1: a crop)
    )


@dataclass(slots=True)
class Optim:
    name: str = "adam"  # adam, adamw, sgd (Nesterov, momentum b1)
    lr: float = 0.01  # peak; the seed study's
    schedule: str = "constant"  # one of hpa_jax.optim.optimizer.SCHEDULES, Optax's own names
    schedule_options: str = "{}"  # its further arguments, by Optax's names: '{"warmup_steps": 500}'
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-7  # Keras's default, with which the seed study's Adam ran; Optax's own is 1e-8
    weight_decay: float = 0.0  # of kernels, decoupled from the gradient (adamw alone)
    clip: float = 0.0  # largest global norm of the gradient; 0: not clipped
    accumulate: int = (
        1  # steps whose mean gradient makes one update; each step has batch statistics of its own
    )
    backbone_lr: float = 1.0  # rate of the backbone, as a share of the head's
    freeze_backbone: int = 0  # steps at the start in which the head alone learns
    # Evaluations without a better checkpoint.metric until the rate is multiplied by plateau_factor; 0: never
    plateau_patience: int = 0
    plateau_factor: float = 0.1


@dataclass(slots=True)
class Train:
    epochs: float = 30.0  # passes over train_split
    steps: int = 0  # if above 0: so many steps in place of epochs
    seed: int = 0  # of weights, order, augmentation and dropout
    loss: str = "bce"  # one of hpa_jax.optim.losses.LOSSES, or a weighted sum of them: "focal:0.5,lovasz:0.5"
    prior_bias: bool = False  # scores start at each label's share of train_split, not at 0.5 (arXiv:1708.02002, 4.1)
    log_every: int = (
        20  # steps between log lines; the only times at which the host waits for the device
    )
    eval_every: int = (
        0  # steps between evaluations; 0: once an epoch. The last step is always evaluated
    )
    log_ids: bool = False  # write the Ids of every batch to ids.jsonl
    ema: float = (
        0.0  # share of the averaged weights that an update keeps; evaluated and exported if above 0
    )
    ema_batches: int = (
        32  # training batches from which the averaged weights' batch statistics are estimated
    )
    stop_after: int = (
        0  # evaluations without a better checkpoint.metric after which training ends; 0: never
    )
    profile: str = ""  # "START:STOP": a trace of those steps (START from 0, STOP not included) to WORKDIR/profile


@dataclass(slots=True)
class Loss:
    """Settings of hpa_jax.optim.losses, each of one loss."""

    positive_power: float = (
        0.5  # weighted: positives count (negatives / positives of train_split) to this power
    )
    positive_limit: float = 100.0  # weighted: and at most so much
    focal_gamma: float = 2.0
    focal_alpha: float = -1.0  # weight of positives, 1 - alpha of negatives; below 0: both 1
    asymmetric_gamma_positive: float = 0.0
    asymmetric_gamma_negative: float = 4.0
    asymmetric_clip: float = 0.05  # scores of negatives are lowered by so much, and 0 below it


@dataclass(slots=True)
class Checkpoint:
    every: int = 0  # steps between saves; 0: with each evaluation only. An evaluation always saves
    keep: int = 2  # latest checkpoints kept, besides the best
    metric: str = "macro_f1"  # of the evaluation; the largest is the best


@dataclass(slots=True)
class Evaluate:
    # .npy, float [N, L]: evaluate anyone's scores, no model needed; several, separated by commas: as an ensemble
    scores: str = ""
    targets: str = ""  # .npy, 0/1 [N, L]
    groups: str = ""  # .npy, int [N], with scores: fields of one number are no independent evidence; '': all are
    folds: int = 5  # of the cross-fitted thresholds
    seed: int = 0  # of the folds and of the bootstrap
    checkpoint: str = "best"  # best, latest, or a step; for evaluate, predict and export
    tta: str = "none"  # symmetries: the mean score of the eight symmetries of the square; for evaluate and predict
    crops: int = 0  # test-time windows of crop_side: 1 (centre) or 5 (and corners), zoomed; 0: the whole field
    crop_side: float = 0.875  # of the field's side
    combine: str = "mean"  # of the scores of the windows: mean, max
    few_positives: int = (
        5  # a label with fewer among the fields fitted on borrows from the other labels' thresholds
    )
    fill_empty: bool = (
        False  # a field above no threshold gets the label that comes nearest to its own
    )
    replicates: int = 1000  # of the bootstrap; 0: no intervals
    level: float = 0.95  # of the intervals
    sources: str = ""  # datasets to evaluate on, separated by commas, each with a row of its own; '': data.name
    runs: str = (
        ""  # folders of runs to be evaluated or to predict as an ensemble, separated by commas
    )


@dataclass(slots=True)
class Export:
    folder: str = ""  # '': WORKDIR/export


@dataclass(slots=True)
class Report:
    compare: str = ""  # folders of runs to stand beside WORKDIR's, separated by commas


@dataclass(slots=True)
class Devices:
    """The devices of a run, and its processes where there are several. Not part of what is learnt: may change."""

    # Devices over which the height of each image is cut; 0: as few as the batch needs (1 where it can be cut over all)
    space: int = 0
    processes: int = 0  # of the run; 0: as the cluster says (Cloud TPU, Slurm, ...), or one
    process: int = -1  # this one's number, from 0; -1: as the cluster says
    coordinator: str = ""  # "HOST:PORT" of process 0; '': as the cluster says
    timeout_s: int = 300  # seconds without a step of every process after which the run ends, naming who is missing


@dataclass(slots=True)
class Plan:
    topologies: str = "v5e:2x4"  # TPU slices to compile for, separated by commas; "here": the devices at hand, measured
    search: bool = False  # also look for the largest batch that fits (powers of two)
    images: int = 0  # of an epoch; 0: those of data.train_split, or the 31,072 of the challenge where it is not built
    effort: float = (
        -1.0
    )  # of the compiler: -1 is quickest; 0 its default, slower, whose memory figures are nearer


@dataclass(slots=True)
class Config:
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    loss: Loss = field(default_factory=Loss)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    evaluate: Evaluate = field(default_factory=Evaluate)
    export: Export = field(default_factory=Export)
    report: Report = field(default_factory=Report)
    devices: Devices = field(default_factory=Devices)
    plan: Plan = field(default_factory=Plan)

    def label_ids(self) -> tuple[int, ...]:
        """As of `Data`."""
        return self.data.label_ids()

    def source_names(self) -> tuple[str, ...]:
        """As of `Data`."""
        return self.data.source_names()

    def source_weights(self) -> tuple[float, ...]:
        """As of `Data`."""
        return self.data.source_weights()


def listed(text: str) -> tuple[str, ...]:
    """The parts of a field that lists names or folders separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def profile_window(text: str) -> tuple[int, int] | None:
    """(START, STOP) of `train.profile`; None where it is no such pair."""
    start, _, stop = text.partition(":")
    found = (int(start), int(stop)) if start.isdecimal() and stop.isdecimal() else (0, 0)
    return found if found[0] < found[1] else None


def to_dict(config: Config) -> dict:
    """The resolved form that `config.json` holds: nested dicts, tuples as lists."""
    plain = dataclasses.asdict(config)
    return {
        s: {k: list(v) if isinstance(v, tuple) else v for k, v in f.items()}
        for s, f in plain.items()
    }


def from_dict(plain: dict) -> Config:
    """The inverse of `to_dict`; fields that `plain` lacks take their defaults, unknown ones are refused by name."""
    config = Config()
    for section, values in plain.items():
        target = getattr(config, section, None)
        for name, value in values.items():
            if target is None or not hasattr(target, name):
                raise InputError(
                    f"config.json has the unknown field {section}.{name}; was it written by another version?"
                )
            setattr(target, name, tuple(value) if isinstance(value, list) else value)
    return config


def differences(a: Config, b: Config) -> dict[str, tuple]:
    """`{'section.field': (value in a, value in b)}` for each field in which two configurations differ."""
    flat_a, flat_b = (
        {(s, k): v for s, f in to_dict(c).items() for k, v in f.items()} for c in (a, b)
    )
    return {
        ".".join(key): (flat_a[key], flat_b[key]) for key in flat_a if flat_a[key] != flat_b[key]
    }


def check(config: Config) -> None:
    """Refuses what no type can: values out of range, and names that are not in their tables.

    Raises:
      InputError: names the field, its value and what it may be.
    """
    d, m, a, t, c = config.data, config.model, config.augment, config.train, config.checkpoint
    loss = config.loss
    figures = (0, len(CHANNELS), len(CHANNELS) * len(config.source_names()))
    rules = (
        (
            "data.image_size",
            d.image_size,
            d.image_size == 0 or 32 <= d.image_size <= 8192,
            "0 or 32 to 8192 px",
        ),
        ("data.batch_size", d.batch_size, d.batch_size >= 1, "1 or more"),
        ("data.threads", d.threads, d.threads >= 1, "1 or more"),
        (
            "data.sources",
            d.sources,
            _sources(d.sources),
            "NAME or NAME:WEIGHT, weights 0.001 to 1000, each name once",
        ),
        ("data.fold", d.fold, d.fold >= 0, "0 or more"),
        ("data.rare_below", d.rare_below, d.rare_below >= 1, "1 or more"),
        ("data.rare_copies", d.rare_copies, d.rare_copies >= 1, "1 or more"),
        (
            "data.repeat_threshold",
            d.repeat_threshold,
            0 < d.repeat_threshold <= 1,
            "above 0, up to 1",
        ),
        (
            "data.labels",
            d.labels,
            not d.labels or _distinct(d.labels, range(len(LABELS))),
            "ids 0 to 27, each once",
        ),
        ("data.mean", d.mean, len(d.mean) in figures, "four shares of 255 for each source"),
        (
            "data.std",
            d.std,
            len(d.std) == len(d.mean) and all(v > 0 for v in d.std),
            "as many shares of 255 above 0",
        ),
        (
            "data.shown_std",
            d.input_std,
            len(d.input_std) == len(d.input_mean) and all(v > 0 for v in d.input_std),
            "as many shares above 0 as data.shown_mean",
        ),
        ("model.dropout", m.dropout, 0 <= m.dropout < 1, "0 to below 1"),
        ("model.bn_momentum", m.bn_momentum, 0 <= m.bn_momentum < 1, "0 to below 1"),
        (
            "augment.rotate_degrees",
            a.rotate_degrees,
            0 <= a.rotate_degrees <= 180,
            "0 to 180 degrees",
        ),
        (
            "augment.scale",
            a.scale,
            len(a.scale) == 2 and 0 < a.scale[0] <= a.scale[1],
            "(low, high), 0 < low <= high",
        ),
        ("augment.channel_dropout", a.channel_dropout, 0 <= a.channel_dropout < 1, "0 to below 1"),
        ("augment.shift", a.shift, 0 <= a.shift <= 0.5, "0 to 0.5"),
        ("optim.lr", config.optim.lr, config.optim.lr > 0, "above 0"),
        *(
            (f"optim.{n}", v, 0 <= v < 1, "0 to below 1")
            for n, v in (("b1", config.optim.b1), ("b2", config.optim.b2))
        ),
        (
            "optim.weight_decay",
            config.optim.weight_decay,
            config.optim.weight_decay >= 0,
            "0 or more",
        ),
        ("optim.clip", config.optim.clip, config.optim.clip >= 0, "0 or more"),
        ("optim.accumulate", config.optim.accumulate, config.optim.accumulate >= 1, "1 or more"),
        ("optim.backbone_lr", config.optim.backbone_lr, config.optim.backbone_lr >= 0, "0 or more"),
        (
            "optim.freeze_backbone",
            config.optim.freeze_backbone,
            config.optim.freeze_backbone >= 0,
            "0 or more",
        ),
        (
            "optim.plateau_patience",
            config.optim.plateau_patience,
            config.optim.plateau_patience >= 0,
            "0 or more",
        ),
        (
            "optim.plateau_factor",
            config.optim.plateau_factor,
            0 < config.optim.plateau_factor < 1,
            "between 0 and 1",
        ),
        ("train.seed", t.seed, t.seed >= 0, "0 or more"),
        ("train.epochs", t.epochs, t.epochs > 0, "above 0"),
        ("train.steps", t.steps, t.steps >= 0, "0 or more"),
        ("train.log_every", t.log_every, t.log_every >= 1, "1 or more"),
        ("train.ema", t.ema, 0 <= t.ema < 1, "0 to below 1"),
        ("train.ema_batches", t.ema_batches, t.ema_batches >= 1, "1 or more"),
        ("train.stop_after", t.stop_after, t.stop_after >= 0, "0 or more"),
        ("train.eval_every", t.eval_every, t.eval_every >= 0, "0 or more"),
        (
            "train.profile",
            t.profile,
            not t.profile or profile_window(t.profile),
            "START:STOP, steps, 0 <= START < STOP",
        ),
        ("checkpoint.every", c.every, c.every >= 0, "0 or more"),
        ("checkpoint.keep", c.keep, c.keep >= 1, "1 or more"),
        ("loss.positive_power", loss.positive_power, 0 <= loss.positive_power <= 4, "0 to 4"),
        (
            "loss.positive_limit",
            loss.positive_limit,
            1 <= loss.positive_limit <= 1e6,
            "1 to 1000000",
        ),
        ("loss.focal_gamma", loss.focal_gamma, 0 <= loss.focal_gamma <= 20, "0 to 20"),
        (
            "loss.focal_alpha",
            loss.focal_alpha,
            loss.focal_alpha <= 1,
            "0 to 1, or below 0 for none",
        ),
        *(
            (f"loss.{name}", getattr(loss, name), 0 <= getattr(loss, name) <= 20, "0 to 20")
            for name in ("asymmetric_gamma_positive", "asymmetric_gamma_negative")
        ),
        (
            "loss.asymmetric_clip",
            loss.asymmetric_clip,
            0 <= loss.asymmetric_clip < 1,
            "0 to below 1",
        ),
        ("model.tile", m.tile, m.tile == 0 or 32 <= m.tile <= 4096, "0 or 32 to 4096 px"),
        ("devices.space", config.devices.space, config.devices.space >= 0, "0 or more"),
        ("devices.processes", config.devices.processes, config.devices.processes >= 0, "0 or more"),
        (
            "devices.process",
            config.devices.process,
            -1 <= config.devices.process < max(1, config.devices.processes),
            "0 to below config.devices.processes; -1: as the cluster says",
        ),
        (
            "devices.coordinator",
            config.devices.coordinator,
            re.fullmatch(r"(\S+:\d+)?", config.devices.coordinator) is not None,
            "HOST:PORT",
        ),
        (
            "devices.timeout_s",
            config.devices.timeout_s,
            config.devices.timeout_s >= 10,
            "10 s or more",
        ),
        ("plan.images", config.plan.images, config.plan.images >= 0, "0 or more"),
        ("plan.effort", config.plan.effort, -1 <= config.plan.effort <= 1, "-1 to 1"),
        ("evaluate.folds", config.evaluate.folds, config.evaluate.folds >= 2, "2 or more"),
    )
    for name, value, holds, allowed in rules:
        if not holds:
            raise InputError(f"config.{name}={value!r} is out of range; allowed: {allowed}")


def _sources(sources: tuple[str, ...]) -> bool:
    names = [source.partition(":")[0] for source in sources]
    try:
        weights = [float(source.partition(":")[2] or 1) for source in sources]
    except ValueError:
        return False
    return (
        all(names)
        and len(set(names)) == len(names)
        and all(1e-3 <= weight <= 1e3 for weight in weights)
    )


def _distinct(values: tuple, known) -> bool:
    return 0 < len(values) == len(set(values)) and all(value in known for value in values)
