"""Real exports in seconds: a small net, random weights and statistics that are none of the trivial.

A test session makes each of them once; who asks again gets a copy.
"""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from support.drawn_variables import drawn_state
from support.made_runs import made_run

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
    made = _made(tuple(sorted(settings.items())))
    return Path(shutil.copytree(made, folder))


@cache
def _made(settings: tuple) -> Path:
    from hpa_jax.main import main

    place = Path(tempfile.mkdtemp(prefix="hpa_jax_export"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    fields = dict(settings)
    weights = fields.pop("export__onnx", "float32")
    size = fields.pop("data__image_size", SIZE)
    data = place / "data"
    _make_data(data, size)
    run = place / "run"
    made_run(
        run,
        data,
        changed=drawn_state,
        **({"data__name": f"synthetic_{size}", "model__head": "linear"} | fields),
    )
    assert main(["--mode=export", f"--workdir={run}", f"--config.export.onnx={weights}"]) == 0
    return run / "export"


def _make_data(data_dir: Path, size: int) -> None:
    from tfds_builder.hpa.__main__ import main

    flags = ["--config=synthetic", f"--size={size}", "--images=40", "--workers=1"]
    assert main([*flags, f"--data_dir={data_dir}"]) == 0
