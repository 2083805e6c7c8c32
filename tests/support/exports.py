"""Real exports in seconds: a small net, random weights and statistics that are none of the trivial.

A test session makes each of them once; who asks gets a copy.
"""

import hashlib
import shutil
from pathlib import Path

from support.drawn_variables import drawn_state
from support.made_runs import made_run
from support.shared import SHARED

SIZE = 32


def tiny_export(folder: Path, **settings) -> Path:
    """An export of densenet_tiny, 32 px, four channels, 28 labels, linear head, model.onnx too.

    Args:
      folder: where it is to lie; made anew.
      settings: other fields of the run's configuration, by name: `model__head="pooled"`,
        `export__onnx="fp16"`, `data__labels=(0, 2)`.

    Returns:
      `folder`.
    """
    key = hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:16]
    made = SHARED.made_once(f"export_{key}", lambda new: _make(new, settings))
    return Path(shutil.copytree(made / "run" / "export", folder))


def _make(new: Path, settings: dict) -> None:
    from hpa_jax.main import main

    fields = dict(settings)
    weights = fields.pop("export__onnx", "float32")
    size = fields.pop("data__image_size", SIZE)
    data = new / "data"
    _make_data(data, size)
    run = new / "run"
    made_run(
        run,
        data,
        changed=drawn_state,
        **({"data__name": f"synthetic_{size}", "model__head": "linear"} | fields),
    )
    assert main(["--mode=export", f"--workdir={run}", f"--config.export.onnx={weights}"]) == 0


def _make_data(data_dir: Path, size: int) -> None:
    from tfds_builder.hpa.__main__ import main

    flags = ["--config=synthetic", f"--size={size}", "--images=40", "--workers=1"]
    assert main([*flags, f"--data_dir={data_dir}"]) == 0
