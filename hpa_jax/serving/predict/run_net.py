"""A run's own checkpoint scores a folder of images: --mode=predict --config.predict.images=DIR.

No export is made first. The scores are the predictor's, so that they equal those of a dataset that
is built from the same images; test-time augmentation, the checkpoint and the thresholds are those
of the settings, as always.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.numpy import save

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.evaluation.predictor import Predictor
from hpa_jax.serving.description import describe
from hpa_jax.serving.forward import forward_pass
from hpa_jax.serving.predict import arguments
from hpa_jax.serving.predict.cells.request import window_flag
from hpa_jax.serving.predict.net import settings_digest
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.predict.run import predict
from hpa_jax.workdir import read_config


class RunNet:
    """A checkpoint of a run as a `net.Net`.

    Args:
      config: of the run.
      workdir: of the run, which is only read.
      cells: a net that takes single cells will do as well.
    """

    def __init__(self, config: Config, workdir: Path, *, cells: bool = False):
        self.name = str(workdir)
        self.backend = "the run"
        self.card = ""
        self.outputs = ("probabilities", "embedding", "maps")
        if config.train.task == "cells":
            self.outputs += ("attention",)
        self._config = config
        self._predictor = Predictor(config, workdir, cells=cells)
        # Reading it may choose another checkpoint, of which all that follows is then said.
        _ = self._predictor.variables
        self.description = describe(config, self._predictor, read_config(workdir))
        about = {
            "checkpoint": [self._predictor.step, self._predictor.written],
            "run": str(workdir.resolve()),
        }
        self.version = settings_digest({**about, "description": self.description})

    def run(self, images: np.ndarray, outputs: Sequence[str], batch: int) -> dict:
        """See `net.Net`."""
        found = {"probabilities": self._predictor(images)}
        others = [name for name in outputs if name not in found]
        if others:
            count = len(images)
            # One shape of batch means one compilation.
            filled = np.zeros((batch, *images.shape[1:]), np.uint8)
            filled[:count] = images
            more = self._forward(tuple(others), self._flat_variables, filled)
            for name in others:
                found[name] = np.asarray(more[name])[:count]
        return found

    @cached_property
    def digest(self) -> str:
        """That of the parameters' file, which an export of this checkpoint has."""
        arrays = {name: np.asarray(array) for name, array in self._flat_variables.items()}
        return hashlib.sha256(save(arrays)).hexdigest()

    @cached_property
    def _flat_variables(self) -> dict:
        return flatten_dict(self._predictor.variables, sep="/")

    @cached_property
    def _forward(self) -> Callable:
        forward = forward_pass(self._config)

        def chosen(names: tuple[str, ...], variables: dict, images: jax.Array) -> dict:
            outputs = forward(variables, images)
            return {name: outputs[name] for name in names}

        return jax.jit(chosen, static_argnums=0)


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
    cells = arguments.cell_request(
        settings.cells,
        Path(settings.masks) if settings.masks else None,
        _given(window_flag, settings.cell_window),
        settings.keep_neighbours,
        settings.skip_border,
        settings.pool,
    )
    usual = "predictions.csv" if cells is None else "cells.csv"
    request = Request(
        images=Path(settings.images),
        out=Path(settings.out) if settings.out else (out or workdir) / usual,
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
        cells=cells,
    )
    if cells is None:
        predict(request, lambda: RunNet(config, workdir))
        return
    # Segmenting needs more packages than scoring.
    from hpa_jax.serving.predict.cells.run import predict_cells

    predict_cells(request, lambda: RunNet(config, workdir, cells=True))


def _given(parse: Callable, text: str):
    return parse(text) if text else None
