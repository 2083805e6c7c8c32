"""What scores images: an export by one of its backends, or a run's checkpoint."""

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hpa_jax.environment.jax_variables import check_devices, check_xla_flags, import_jax
from hpa_jax.errors import InputError, one_line
from hpa_jax.folders.export_manifest import CARD, ONNX, PARAMETERS, check_digests
from hpa_jax.serving import artifact
from hpa_jax.serving.kinds import CELLS, EMBEDDINGS, LABELS, check_kind

_LONGEST_REASON = 160


class Net(Protocol):
    """What `scoring` needs of a net.

    Attributes:
      name: for messages.
      backend: "onnx", "jax" or "run".
      description: as model.json has it.
      card: the model card, or empty.
      digest: of its parameters: embeddings of another net cannot be compared.
      version: changes with anything of it.
      outputs: that it has: `probabilities`, `embedding`, `maps`.
    """

    name: str
    backend: str
    description: Mapping[str, Any]
    card: str
    digest: str
    version: str
    outputs: tuple[str, ...]

    def run(self, images: np.ndarray, outputs: Sequence[str], batch: int) -> dict:
        """Runs the net.

        Args:
          images: uint8 [B, S, S, 4].
          outputs: some of `outputs`.
          batch: the largest B of all calls; a compiled net may fill up to it.

        Returns:
          float32 arrays [B, ...] by name.
        """


class ExportedNet:
    """An export, by one of its backends; see `Net`.

    Args:
      folder: of the export.
      backend: "auto", "onnx" or "jax".
      threads: of onnxruntime; None: one a core. JAX has as many as it likes.
      cells: it is to score single cells: a net that has learnt them will do, one of embeddings
        will not.

    Raises:
      InputError: it is no complete export, or cannot be run here.
    """

    def __init__(
        self,
        folder: Path,
        backend: str = "auto",
        threads: int | None = None,
        *,
        cells: bool = False,
    ):
        self.name = str(folder)
        if backend == "auto":
            backend = _usual_backend(folder)
        if backend == "jax":
            _start_jax()
        kinds = (LABELS, CELLS) if cells else (LABELS, EMBEDDINGS)
        self._served = artifact.load(folder, backend, threads=threads or 0, kinds=kinds)
        self.backend = self._served.backend
        self.description = self._served.description
        self.outputs = tuple(self._served.outputs)
        self.card = _card(folder)
        digests = check_digests(folder)
        self.digest = digests[PARAMETERS]
        self.version = settings_digest(digests)

    def run(self, images: np.ndarray, outputs: Sequence[str], batch: int) -> dict:
        """See `Net`."""
        count = len(images)
        if self.backend == "jax" and count < batch:
            # One shape of batch means one compilation.
            filled = np.zeros((batch, *images.shape[1:]), np.uint8)
            filled[:count] = images
            images = filled
        try:
            found = self._served.run(images, outputs)
        except InputError:
            raise
        # JAX and onnxruntime have a type of error for each want of theirs, of memory for one.
        except Exception as error:
            reason = one_line(error, limit=_LONGEST_REASON)
            raise InputError(
                f"{self.name} does not run here on {len(images)} images at a time ({reason}); try "
                "a smaller --batch, or another --backend"
            ) from error
        return {name: found[name][:count] for name in outputs}


def open_export(
    folder: Path,
    backend: str,
    *,
    needs_maps: bool = False,
    threads: int | None = None,
    cells: bool = False,
) -> ExportedNet:
    """An export that has the outputs that are needed.

    Args:
      folder: of the export.
      backend: "auto" takes onnx, unless maps are needed that it does not have.
      needs_maps: whether they are.
      threads, cells: as of `ExportedNet`.

    Raises:
      InputError: as of `ExportedNet`, or it has no maps.
    """
    net = ExportedNet(folder, backend, threads, cells=cells)
    if needs_maps:
        check_kind(net.description, folder, LABELS)
    if not needs_maps or "maps" in net.outputs:
        return net
    if backend == "auto" and net.backend == "onnx":
        print(f"{folder}: the maps of this head take a gradient: by jax, not by onnx")
        net = ExportedNet(folder, "jax", threads)
    if "maps" in net.outputs:
        return net
    remedy = "give --backend=jax" if net.backend == "onnx" else "export it again"
    raise InputError(
        f"--overlays: {folder} has no maps of what the net looked at by its backend "
        f"{net.backend}; {remedy}"
    )


def settings_digest(values: Any) -> str:
    """SHA-256 of plain values, 64 hex digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _usual_backend(folder: Path) -> str:
    """As `artifact.load` chooses."""
    has_model = (folder / ONNX).is_file()
    return "onnx" if has_model and importlib.util.find_spec("onnxruntime") else "jax"


def _start_jax() -> None:
    """Imports JAX as every program of this project does, and refuses what it cannot use."""
    # Where it is not installed, `load` says so.
    with contextlib.suppress(ImportError):
        import_jax()
        check_xla_flags()
        check_devices()


def _card(folder: Path) -> str:
    try:
        return (folder / CARD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / CARD} cannot be read: {error}") from None
