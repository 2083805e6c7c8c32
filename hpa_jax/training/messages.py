"""What a training run tells the person at the terminal."""

from pathlib import Path

import jax

from hpa_jax.errors import NOT_FINITE
from hpa_jax.training.experiment import Experiment
from hpa_jax.training.state import TrainState


def start(experiment: Experiment, workdir: Path, state: TrainState, first_step: int) -> str:
    """The lines of a start: the net, the data, the devices, the steps."""
    data = experiment.config.data
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
        f"{workdir}: {experiment.task.describe_net()}, "
        f"{parameters / 1e6:.1f} million parameters, {experiment.config.model.dtype}, "
        f"{data.image_size} px\n"
        f"{', '.join(data.source_names())}: "
        f"{len(experiment.dataset)} images of {data.train_split} to train on, "
        f"{experiment.order.epoch_length} an epoch; "
        f"{len(experiment.eval_dataset)} of {data.eval_split} to evaluate; "
        f"batches of {data.batch_size} on {devices}; "
        f"{steps} (the first one compiles)"
    )


def evaluation(experiment: Experiment, step: int, metrics: dict[str, float]) -> str:
    """The line of an evaluation."""
    config = experiment.config
    shown = experiment.task.describe_evaluation(metrics, config.checkpoint.metric)
    return f"step {step}, {config.data.eval_split}: {shown}"


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
