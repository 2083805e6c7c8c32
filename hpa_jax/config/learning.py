"""The sections of what is learnt and how: net, augmentation, optimizer, training, losses."""

import re
from dataclasses import dataclass

from hpa_jax.config.setting import setting
from hpa_jax.deprecations import accept_old_names


@accept_old_names("model")
@dataclass(slots=True)
class Model:
    """The net, and the weights that it starts from."""

    name: str = setting(
        "densenet121",
        "the backbone: one of hpa_jax.models.BACKBONES; or fusion, of several (section fusion)",
    )
    head: str = setting(
        "pooled",
        "hpa_densenet (the baseline's: flatten, for one image size), pooled (mean and max, for any "
        "size), linear, norm_linear (ConvNeXts': a layer norm before it), all_cnn (that net's "
        "own), attention (learned weights of places or tiles); with train.task=metric arcface; "
        "with model.name=fusion fusion",
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
    kernels: bool = setting(
        True,
        "fused blocks by Pallas kernels, on a TPU and on NVIDIA GPUs; False: by XLA's operations, "
        "the same to rounding",
    )
    tile: int = setting(
        0,
        "px a side of the tiles that the head attention weighs; 0: the image at once",
        at_least=32,
        at_most=4096,
        or_zero=True,
    )


def _is_scale(scale: tuple[float, ...]) -> bool:
    return len(scale) == 2 and 0 < scale[0] <= scale[1]


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
    exposure: float = setting(
        0.0,
        "standard deviation of the factor, around 1, by which all channels are multiplied together",
        at_least=0,
        at_most=1,
    )
    kernels: bool = setting(
        True, "on a TPU, rotate by Pallas kernels; False: by XLA's operations, the same to rounding"
    )
    generated: str = setting(
        "",
        "folders of --mode=synthesize, separated by commas, with channels that a net has made of "
        "images of train_split; an image with a rare label (data.rare_below) has one of them in "
        "the place of what was imaged, drawn each time",
        path="listed",
    )
    generated_probability: float = setting(
        0.5, "of generated: how often such an image has one", above=0, at_most=1
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


def profile_window(text: str) -> tuple[int, int] | None:
    """(START, STOP) of `train.profile`; None for any other text."""
    match = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)
    if match is None:
        return None
    start, stop = map(int, match.groups())
    return (start, stop) if start < stop else None


def _is_window(text: str) -> bool:
    return not text or profile_window(text) is not None


@accept_old_names("train")
@dataclass(slots=True)
class Train:
    """How long, on which loss, and what is logged."""

    epochs: float = setting(30.0, "passes over train_split", above=0)
    steps: int = setting(0, "if above 0: so many steps, in place of epochs", at_least=0)
    seed: int = setting(0, "of weights, order, augmentation and dropout", at_least=0)
    task: str = setting(
        "classification",
        "what the net learns: one of hpa_jax.training.tasks.TASKS. classification: which labels "
        "an image has; cell_masks: which pixel belongs to which cell; metric: embeddings, near for "
        "images that belong together (section metric); channels: channels from the others (section "
        "channels); cells: which labels its cells have (section cells)",
    )
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
