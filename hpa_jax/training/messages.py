"""What a training run tells the person at the terminal."""

from pathlib import Path

import jax

from hpa_jax.errors import NOT_FINITE
from hpa_jax.training.experiment import Experiment
from hpa_jax.training.state import TrainState

# Metrics that every evaluation line has.
_ALWAYS_SHOWN = ("macro_f1", "micro_f1", "accuracy", "mean_class_accuracy")


def start(experiment: Experiment, workdir: Path, state: TrainState, first_step: int) -> str:
    """The lines of a start: the net, the data, the devices, the steps."""
    data = experiment.config.data
    model = experiment.config.model
    mesh = experiment.mesh
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    space = mesh.shape["space"]
    devices = f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    if space > 1:
        devices += f", the height of each image sharded over {space}"
    steps = f"{experiment.num_steps} steps"
    if first_step:
        steps = f"resuming at step {first_step} of {experiment.num_steps}"
    return (
        f"{workdir}: {model.name} with the {model.head} head, "
        f"{parameters / 1e6:.1f} million parameters, {model.dtype}, "
        f"{data.image_size} px\n"
        f"{', '.join(data.source_names())}: "
        f"{len(experiment.dataset)} images of {data.train_split} to train on, "
        f"{experiment.order.epoch_length} an epoch; "
        f"{len(experiment.eval_dataset)} of {data.eval_split} to evaluate; "
        f"batches of {data.batch_size} on {devices}; "
        f"{steps} (the first one compiles)"
    )


def evaluation(step: int, split: str, metric: str, metrics: dict[str, float]) -> str:
    """The line of an evaluation; `metric` is the one that ranks checkpoints."""
    ranking = ""
    if metric not in _ALWAYS_SHOWN:
        ranking = f"{metric} {metrics[metric]:.4f}; "
    if "mean_class_accuracy" in metrics:
        return (
            f"step {step}, {split}: accuracy {metrics['accuracy']:.4f}, "
            f"mean class accuracy {metrics['mean_class_accuracy']:.4f}, "
            f"macro F1 {metrics['macro_f1']:.4f}"
        )
    return (
        f"step {step}, {split}: {ranking}"
        f"macro F1 {metrics['macro_f1']:.4f}, "
        f"micro F1 {metrics['micro_f1']:.4f}, "
        f"accuracy {metrics['accuracy']:.4f} at threshold 0.5"
    )


def end(best: int, metric: str, metrics: dict[str, float], workdir: Path) -> str:
    """The last line of a run that is finished."""
    value = ""
    if metric in metrics:  # a checkpoint of an older version has fewer
        value = f" with {metric} {metrics[metric]:.4f}"
    return f"finished; the best checkpoint is step {best}{value}, in {workdir}"


def not_finite(failed_at: int, last_checkpoint: int | None, ids: list[str]) -> str:
    """Why a run stopped itself, and the images of the batch that did it."""
    last = "there is no checkpoint yet"
    if last_checkpoint is not None:
        last = f"the last good checkpoint is step {last_checkpoint}"
    return (
        f"{NOT_FINITE} in step {failed_at} "
        "(counted from 0); nothing was learned from it and nothing saved since; "
        f"{last}; lower config.optim.lr, or look at the images of that batch: "
        f"{', '.join(ids)}"
    )
