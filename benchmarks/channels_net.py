"""The nets of `channels.py`: trained by `hpa_jax.main`, kept in folders, asked for channels.

Its own command resumes a training, and is over at once where one is finished.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import checkout  # noqa: F401
import numpy as np
from checkout import REPOSITORY

from hpa_jax.data.dataset import ImageDataset
from hpa_jax.errors import EXIT_START_AGAIN, RunStopped
from hpa_jax.evaluation.channel_figures import NET, ChannelFigures
from hpa_jax.evaluation.synthesizer import Synthesizer, load_synthesizer
from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_subsets import Pair

RECIPE = "configs/channels.py"


@dataclass(frozen=True)
class Scale:
    """How much is trained.

    Attributes:
      net: the U-Net's encoder, one of hpa_jax.models.list_encoders().
      size: px a side.
      steps: of each run.
      batch: images a step.
      more: further flags of hpa_jax.main.
    """

    net: str
    size: int
    steps: int
    batch: int
    more: tuple[str, ...] = ()

    def flags(self) -> tuple[str, ...]:
        """Of `python -m hpa_jax.main`."""
        return (
            f"--config.model.name={self.net}",
            f"--config.data.image_size={self.size}",
            f"--config.data.batch_size={self.batch}",
            f"--config.train.steps={self.steps}",
            f"--config.train.eval_every={max(1, self.steps // 4)}",
            *self.more,
        )


def train(workdir: Path, data_dir: Path, name: str, scale: Scale, *, fold: int = 0) -> Path:
    """Trains a net that fills in channels, or finishes its training; returns `workdir`.

    Args:
      workdir: of the run.
      data_dir: of the datasets.
      name: of the dataset.
      scale: how much.
      fold: which is held out.

    Raises:
      RunStopped: it did not end well.
    """
    flags = (
        *scale.flags(),
        f"--config.data.data_dir={data_dir}",
        f"--config.data.name={name}",
        f"--config.data.fold={fold}",
    )
    call_main(f"--config={RECIPE}", f"--workdir={workdir}", *flags, log=workdir / "log.txt")
    return workdir


def call_main(*flags: str, log: Path) -> None:
    """Runs `python -m hpa_jax.main`, its output in a file.

    Raises:
      RunStopped: it did not end well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "hpa_jax.main", *flags]
    with open(log, "a", encoding="utf-8") as file:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    if done.returncode == EXIT_START_AGAIN:
        raise RunStopped(f"{log.parent} was stopped; the same command resumes")
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        raise RunStopped(f"{log.parent} ended with status {done.returncode}: {last} ({log})")


def score_net(
    figures: ChannelFigures,
    dataset: ImageDataset,
    numbers: Sequence[int],
    pairs: Sequence[Pair],
    workdir: Path,
    checkpoint: str,
) -> None:
    """Adds what a run makes of images of a dataset.

    Args:
      figures: to add to.
      dataset: of images of the net's size.
      numbers: of the images, in the order of the other methods.
      pairs: of which those are scored that the net has learnt.
      workdir: of the run.
      checkpoint: "latest" where validation is what is scored here, and must choose nothing.
    """
    synthesizer = load_synthesizer(workdir, checkpoint)
    for pair in pairs:
        knows = set(pair.sources) <= set(synthesizer.sources) and pair.target in synthesizer.targets
        if not knows:
            continue
        place = synthesizer.targets.index(pair.target)
        channel = CHANNELS.index(pair.target)
        for image, filled in _filled(synthesizer, dataset, numbers, pair.sources):
            figures.add(pair, NET, filled[..., place], image[..., channel])


def _filled(
    synthesizer: Synthesizer, dataset: ImageDataset, numbers: Sequence[int], shown: Sequence[str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images, and all targets made from what is shown of them, a batch at a time."""
    size = synthesizer.config.data.batch_size
    for start in range(0, len(numbers), size):
        images = np.stack([dataset.image(number) for number in numbers[start : start + size]])
        yield from zip(images, synthesizer.fill(images, shown), strict=True)


def channel_maker(workdir: Path, target: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function of images uint8 [N, H, W, 4] that returns their target as a net makes it."""
    synthesizer = load_synthesizer(workdir)
    place = synthesizer.targets.index(target)
    shown = [name for name in synthesizer.sources if name != target]

    def make(images: np.ndarray) -> np.ndarray:
        return synthesizer.fill(images, shown)[..., place]

    return make
