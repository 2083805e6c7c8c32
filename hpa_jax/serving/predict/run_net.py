"""A run's own checkpoint scores a folder of images: --mode=predict --config.predict.images=DIR.

No export is made first. The scores are the predictor's, so that they equal those of a dataset that
is built from the same images; test-time augmentation, the checkpoint and the thresholds are those
of the settings, as always.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.evaluation.grad_cam import make_grad_cam
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.serving.description import describe
from hpa_jax.serving.predict import arguments
from hpa_jax.serving.predict.net import settings_digest
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.predict.run import predict
from hpa_jax.training import components
from hpa_jax.transforms import augment, normalize
from hpa_jax.workdir import read_config


class RunNet:
    """A checkpoint of a run as a `net.Net`.

    Args:
      config: of the run.
      workdir: of the run, which is only read.
    """

    def __init__(self, config: Config, workdir: Path):
        self.name = str(workdir)
        self.backend = "the run"
        self.card = ""
        self.outputs = ("probabilities", "embedding")
        self._config = config
        self._predictor = Predictor(config, workdir)
        # Reading them may choose another checkpoint, of which all that follows is then said.
        self._variables = self._predictor.variables
        self.description = describe(config, self._predictor, read_config(workdir))
        about = {
            "checkpoint": [self._predictor.step, self._predictor.written],
            "run": str(workdir.resolve()),
        }
        self.digest = settings_digest(about)
        self.version = settings_digest({**about, "description": self.description})

    def run(self, images: np.ndarray, outputs: Sequence[str], batch: int) -> dict:
        """See `net.Net`."""
        found = {"probabilities": self._predictor(images)}
        if "embedding" in outputs:
            count = len(images)
            filled = np.zeros((batch, *images.shape[1:]), np.uint8)
            filled[:count] = images
            found["embedding"] = np.asarray(self._embed(self._variables, filled))[:count]
        return found

    def maps_of(
        self, pixels: np.ndarray, outputs: Mapping, at: int, labels: Sequence[int]
    ) -> list[np.ndarray]:
        """See `net.Net`."""
        maps = []
        for label in labels:
            heat, _ = self._grad_cam(self._variables, pixels[None], np.array([label]))
            maps.append(np.asarray(heat)[0])
        return maps

    @cached_property
    def _model(self):
        return components.make_model(self._config.model, len(self._config.label_ids()))

    @cached_property
    def _embed(self) -> Callable:
        model = self._model
        preparation = normalize.preparation(self._config.data)

        def embed(variables: dict, images: jax.Array) -> jax.Array:
            prepared = augment.prepare(images, **preparation)
            features = model.apply(variables, prepared, train=False, method="features")
            return features.astype(jnp.float32).mean(axis=(1, 2))

        return jax.jit(embed)

    @cached_property
    def _grad_cam(self) -> Callable:
        return make_grad_cam(self._model, preparation=normalize.preparation(self._config.data))


def predict_folder(config: Config, workdir: Path, out: Path | None = None) -> None:
    """Scores the images of `config.predict.images` and writes the table.

    Args:
      config: of the run; its section `predict` says what and how.
      workdir: of the run.
      out: folder of the table; None: `workdir`.

    Raises:
      InputError: an ensemble, or anything that another call or other files put right.
    """
    if config.evaluate.runs:
        raise InputError(
            "config.predict.images: an ensemble scores prepared datasets; predict with each of "
            "its runs"
        )
    settings = config.predict
    request = Request(
        images=Path(settings.images),
        out=Path(settings.out) if settings.out else (out or workdir) / "predictions.csv",
        pattern=settings.pattern or None,
        channels=_given(arguments.channels_flag, settings.channels),
        order=_given(arguments.order_flag, settings.order),
        missing=_given(arguments.missing_flag, settings.missing) or (),
        follow_links=settings.follow_links,
        white=settings.white or None,
        projection=settings.projection,
        float_range=_given(arguments.float_range_flag, settings.float_range),
        pixel_size=settings.pixel_size or None,
        policy=settings.policy,
        # What the predictor compiles for.
        batch=config.data.batch_size,
        threads=config.data.threads,
        overlays=Path(settings.overlays) if settings.overlays else None,
    )
    predict(request, lambda: RunNet(config, workdir))


def _given(parse: Callable, text: str):
    return parse(text) if text else None
