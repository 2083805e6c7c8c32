"""The nets of `channels.py`: how they are trained, and what they make of images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import checkout  # noqa: F401
import numpy as np
from learning_recipes import Run, config_flags

from hpa_jax.data.dataset import ImageDataset
from hpa_jax.evaluation.channel_figures import NET, ChannelFigures
from hpa_jax.evaluation.synthesizer import Synthesizer, load_synthesizer
from hpa_jax.images.resize import resize
from hpa_jax.labels import CHANNELS
from hpa_jax.transforms.channel_subsets import Pair

RECIPE = "configs/channels.py"


@dataclass(frozen=True)
class Scale:
    """How much is trained.

    Attributes:
      net: the U-Net's encoder, one of hpa_jax.models.list_encoders().
      size: px a side of the images.
      steps: of each run.
      batch: images a step.
      crop: px a side that a step sees of each; 0: the whole image.
      dtype: of the arithmetic.
    """

    net: str
    size: int
    steps: int
    batch: int
    crop: int = 0
    dtype: str = "float32"

    def run(self, name: str, dataset: str, *, fold: int = 0) -> Run:
        """A training, for `learning_runs.run_all`.

        Args:
          name: of its folder.
          dataset: by name.
          fold: which is held out.
        """
        data = {"name": dataset, "fold": fold, "image_size": self.size, "batch_size": self.batch}
        train = {
            "steps": self.steps,
            "eval_every": max(1, self.steps // 4),
            "log_every": max(1, min(100, self.steps // 4)),
        }
        return Run(
            name=name,
            program="hpa_jax.main",
            recipe=RECIPE,
            flags=(
                *config_flags("data", data),
                *config_flags("model", {"name": self.net, "dtype": self.dtype}),
                *config_flags("channels", {"crop": self.crop}),
                *config_flags("train", train),
                *config_flags("checkpoint", {"keep": 1}),
            ),
            tta=(),
            checkpoint="latest",
            scoring=(),
            steps=self.steps,
        )


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
      dataset: of images of any one size: made to fit the net, and what it makes to fit them.
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
        images = [dataset.image(number) for number in numbers[start : start + size]]
        seen = np.stack([resize(image, (synthesizer.size,) * 2) for image in images])
        for image, filled in zip(images, synthesizer.fill(seen, shown), strict=True):
            yield image, resize(filled, image.shape[:2])


def channel_maker(workdir: Path, target: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function of images uint8 [N, H, W, 4] that returns their target as a net makes it."""
    synthesizer = load_synthesizer(workdir)
    place = synthesizer.targets.index(target)
    shown = [name for name in synthesizer.sources if name != target]

    def make(images: np.ndarray) -> np.ndarray:
        return synthesizer.fill(images, shown)[..., place]

    return make
