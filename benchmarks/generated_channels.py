"""Channels that a net makes of images with rare labels: what the row `generated` of `ablation.py`
shows in their place, and the net that `channels.py` asks what its channels are worth.

    FOLDER/runs/channels_net            the net, which has learnt from the train split
    FOLDER/generated/CHANNEL/synthesized
"""

import subprocess
import sys
from pathlib import Path

import channels_net
from checkout import REPOSITORY
from learning_recipes import Run, Scale
from learning_runs import run_all

from hpa_jax.errors import EXIT_START_AGAIN, RunStopped

CHANNELS = ("red", "blue", "yellow")


def net_run(scale: Scale) -> Run:
    """The net, at the scale of the learning benchmarks."""
    # Smaller batches: what counts in so short a training is the number of steps. Eight at least,
    # which the devices of one machine can share.
    batch = max(8, scale.batch // 4)
    net = channels_net.Scale(scale.net, scale.size, scale.steps, batch)
    return net.run("channels_net", scale.dataset)


def folders_of_pictures(folder: Path) -> list[Path]:
    """Where `make_pictures` puts them, a folder a channel."""
    return [folder / "generated" / channel / "synthesized" for channel in CHANNELS]


def make_pictures(scale: Scale, folder: Path, data_dir: Path) -> None:
    """Each reference channel from the two others, of the training images with a rare label.

    Args:
      scale: of the images; its `rare_below` says which labels are rare.
      folder: for the run and the pictures.
      data_dir: of the dataset.

    Raises:
      RunStopped: a program did not end well.
    """
    run = net_run(scale)
    run_all([run], data_dir, folder, jobs=1)
    for channel, pictures in zip(CHANNELS, folders_of_pictures(folder), strict=True):
        call_main(
            "--mode=synthesize",
            f"--workdir={folder / 'runs' / run.name}",
            f"--out={pictures.parent}",
            f"--config.data.data_dir={data_dir}",
            "--config.data.eval_split=train",
            f"--config.channels.rare_below={scale.rare_below()}",
            f"--config.channels.fill={channel}",
            "--config.channels.baseline_images=0",
            log=pictures.parent / "log.txt",
        )


def call_main(*flags: str, log: Path) -> None:
    """Runs `python -m hpa_jax.main`, its output in a file.

    Raises:
      RunStopped: it did not end well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "hpa_jax.main", *flags]
    with open(log, "w", encoding="utf-8") as file:
        done = subprocess.run(command, cwd=REPOSITORY, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode == EXIT_START_AGAIN:
        raise RunStopped("the making of channels was stopped; the same command resumes")
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        raise RunStopped(f"the making of channels ended with {done.returncode}: {last} ({log})")
