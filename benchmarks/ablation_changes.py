"""The changes that `ablation.py` makes, as flags on top of a recipe's."""

from typing import NamedTuple

from learning_recipes import config_flags

UNCHANGED_RUN = "UNCHANGED_RUN"
"""In a flag: stands for the folder of the recipe's own run of the same seed, which is finished."""

GENERATED = "GENERATED_CHANNELS"
"""In a flag: stands for the folders of the pictures of generated_channels.py, with commas."""


class Change(NamedTuple):
    """What a row of the table calls it, the flags, and which part of the recipe's steps it runs."""

    title: str
    flags: tuple[str, ...]
    part: float = 1.0


def changes_to_best() -> dict[str, Change]:
    """By name: the baseline's choice, or none, in place of that of `best`."""
    constant_adam = {
        "name": "adam",
        "lr": 0.01,
        "backbone_lr": 1.0,
        "schedule": "constant",
        "weight_decay": 0.0,
    }
    assumed = {
        "lr": 4e-3,
        "backbone_lr": 1.0,
        "schedule": "warmup_cosine_decay",
        "weight_decay": 1e-2,
    }
    found_with_decay = {
        "lr": 1.2e-2,
        "backbone_lr": 0.68,
        "schedule": "cosine_decay",
        "weight_decay": 9e-4,
    }
    return {
        "best_mix": Change(
            "three channels (`hpa_densenet_iii`) in place of four",
            config_flags("data", {"channel_mix": "hpa_densenet_iii"}),
        ),
        "best_sampling": Change(
            "each image once an epoch, rare labels not repeated",
            config_flags("data", {"sampling": "uniform"}),
        ),
        "best_flips": Change(
            "no symmetries while training",
            config_flags("augment", {"flips": False}),
        ),
        "best_head": Change(
            "the baseline's flatten head, dropout 0.5",
            config_flags("model", {"head": "hpa_densenet", "dropout": 0.5}),
        ),
        "best_pooled": Change(
            "the pooled head of configs/best_512.py, dropout 0.5",
            config_flags("model", {"head": "pooled", "dropout": 0.5}),
        ),
        "best_rate": Change(
            "Adam at 0.01 in place of AdamW at 0.0047",
            config_flags("optim", constant_adam),
        ),
        "best_assumed": Change(
            "rates and schedule as assumed before they were searched",
            config_flags("optim", assumed),
        ),
        "best_cosine": Change(
            "the best trial of the search with a decay, cosine from 0.012",
            config_flags("optim", found_with_decay),
        ),
        "best_clip": Change(
            "gradients not clipped",
            config_flags("optim", {"clip": 0.0}),
        ),
        "best_ema": Change(
            "weights not averaged",
            config_flags("train", {"ema": 0.0}),
        ),
        "best_prior": Change(
            "scores start at 0.5, not at the labels' frequencies",
            config_flags("train", {"prior_bias": False}),
        ),
        "best_focal_lovasz": Change(
            "focal and Lovasz, a half each, in place of BCE",
            config_flags("train", {"loss": "focal:0.5,lovasz:0.5"}),
        ),
        "best_asymmetric": Change(
            "asymmetric loss in place of BCE",
            config_flags("train", {"loss": "asymmetric"}),
        ),
        "best_weighted": Change(
            "weighted BCE in place of BCE",
            config_flags("train", {"loss": "weighted"}),
        ),
    } | _newer_changes()


def _newer_changes() -> dict[str, Change]:
    """By name: what was published since the challenge, each on top of `best`."""
    as_fino = {"protein_contrast": 0.2, "contrast": 0.2, "brightness": 0.2}
    return {
        "best_ldam": Change(
            "LDAM without re-weighting in place of BCE",
            (
                *config_flags("train", {"loss": "ldam"}),
                *config_flags("loss", {"ldam_reweight_after": 1.0}),
            ),
        ),
        "best_ldam_drw": Change(
            "LDAM, re-weighted in the last fifth, in place of BCE",
            config_flags("train", {"loss": "ldam"}),
        ),
        "best_class_balanced": Change(
            "class-balanced draws in place of repeat factors",
            config_flags("data", {"sampling": "class_balanced"}),
        ),
        "best_crt": Change(
            "its head trained anew, class-balanced, for a quarter of the steps (cRT)",
            (
                *config_flags("train", {"retrain_head": UNCHANGED_RUN}),
                *config_flags("data", {"sampling": "class_balanced"}),
            ),
            part=0.25,
        ),
        "best_generated": Change(
            "rare labels half of the times with a channel that a net made of the others",
            config_flags("augment", {"generated": GENERATED}),
        ),
        "best_mixup": Change(
            "mixup, alpha 0.2",
            config_flags("augment", {"mixup": 0.2}),
        ),
        "best_cutmix": Change(
            "cutmix, alpha 1, in half of the batches",
            config_flags("augment", {"cutmix": 1.0, "mix_probability": 0.5}),
        ),
        "best_intensity": Change(
            "protein contrast, contrast and brightness as in FINO",
            config_flags("augment", as_fino),
        ),
    }


def changes_to_hpa_densenet() -> dict[str, Change]:
    """By name: the choice of `best` in place of the baseline's."""
    symmetries = {
        "only_rare": False,
        "rotate_degrees": 0.0,
        "scale": "(1.0,1.0)",
        "shift": 0.0,
    }
    adamw = {
        "name": "adamw",
        "lr": 4.7e-3,
        "weight_decay": 1.7e-3,
        "clip": 1.0,
        "schedule": "constant",
    }
    return {
        "hpa_densenet_mix": Change(
            "four channels in place of three",
            config_flags("data", {"channel_mix": "rgby", "input_mean": "()", "input_std": "()"}),
        ),
        "hpa_densenet_sampling": Change(
            "repeat factors in place of four copies",
            config_flags("data", {"sampling": "repeat_factor"}),
        ),
        "hpa_densenet_flips": Change(
            "every image in its symmetries, in place of rotations and crops of rare ones",
            config_flags("augment", symmetries),
        ),
        "hpa_densenet_head": Change(
            "the linear head",
            config_flags("model", {"head": "linear", "dropout": 0.0}),
        ),
        "hpa_densenet_rate": Change(
            "AdamW at 0.0047, gradients clipped",
            config_flags("optim", adamw),
        ),
        "hpa_densenet_ema": Change(
            "weights averaged",
            config_flags("train", {"ema": 0.99}),
        ),
    }
