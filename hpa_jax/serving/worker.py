"""Writes an export in a process whose environment is always the same.

    echo REQUEST | python -m hpa_jax.serving.worker

What JAX traces and computes depends on its variables (JAX_ENABLE_X64,
JAX_DEFAULT_MATMUL_PRECISION, XLA_FLAGS, ...), its devices and the paths of this program's source,
and so would the bytes of an export. Here none of them counts: `write_export` starts the process
with the few variables that it needs to run, on one device of the CPU.

Request and answer are JSON, one line each: `{"folder", "workdir", "config", "evaluated"}`;
`{"step": ..., "difference": ...}`, `{"refused": ...}` or `{"failed": [errno, reason,
path]}` of the system.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import hpa_jax
from hpa_jax.buckets import mounts
from hpa_jax.errors import InputError, RunStopped, one_line

# Of the caller's environment, what a process needs to start and to find its libraries.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# What it needs to read a dataset in a bucket.
_OF_BUCKETS = (
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "GCE_METADATA_IP",
    "GCE_METADATA_ROOT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HTTPS_PROXY",
    "STORAGE_EMULATOR_HOST",
    "HPA_BUCKET_TIMEOUT_S",
    "HPA_SCRATCH",
)

_FIXED = {
    "JAX_PLATFORMS": "cpu",
    # Operations keep their names, and lose the paths of the files that they come from.
    "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1",
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}

_LONGEST_REASON = 300


def write_export(
    folder: Path,
    workdir: Path,
    config: dict,
    cache: str | None,
    evaluated: Sequence[Path] = (),
) -> tuple[int, float]:
    """Writes the files of an export, and runs it once.

    Args:
      folder: to write to.
      workdir: of the run.
      config: of the run, as `config.to_dict` has it.
      cache: folder of compiled programs; None: none.
      evaluated: folders besides `workdir` that may hold the run's evaluation.json; they come first.

    Returns:
      The step of the checkpoint, and the largest difference from the golden output, after
      reloading.

    Raises:
      InputError: the checkpoint cannot be read, or the net does not give numbers.
      OSError: the folder cannot be written.
      RunStopped: the process ended before it was done.
    """
    # The worker sees local files alone.
    mounts.fetch(workdir)
    request = {
        "folder": str(folder.resolve()),
        "workdir": str(workdir.resolve()),
        "config": config,
        "evaluated": [str(place.resolve()) for place in (*evaluated, workdir)],
    }
    # -P: the folder that the user stands in is not searched for modules.
    command = [sys.executable, "-P", "-m", "hpa_jax.serving.worker"]
    with tempfile.TemporaryFile() as errors:
        worker = subprocess.Popen(
            command,
            env=_environment(cache),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            worker.stdin.write(json.dumps(request).encode() + b"\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            # The worker ends with its input, and so with this process as well.
            worker.stdin.close()
            worker.stdout.close()
            status = worker.wait()
        if not line:
            raise RunStopped(_cause_of_death(status, errors))
    answer = json.loads(line)
    if "refused" in answer:
        raise InputError(answer["refused"])
    if "failed" in answer:
        raise OSError(*answer["failed"])
    return answer["step"], answer["difference"]


def _environment(cache: str | None) -> dict[str, str]:
    environment = {}
    for name in (*_INHERITED, *_OF_BUCKETS):
        if name in os.environ:
            environment[name] = os.environ[name]
    path = [str(Path(hpa_jax.__file__).resolve().parents[1])]
    # Absolute, since "" and "." mean another folder to each process.
    for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if entry:
            path.append(os.path.abspath(entry))
    environment["PYTHONPATH"] = os.pathsep.join(path)
    if cache:
        in_bucket = "://" in cache
        environment["JAX_COMPILATION_CACHE_DIR"] = cache if in_bucket else os.path.abspath(cache)
    return environment | _FIXED


def _cause_of_death(status: int, errors) -> str:
    how = f"signal {-status}" if status < 0 else f"status {status}"
    errors.seek(0)
    lines = errors.read().decode(errors="replace").splitlines()
    last_words = next((line for line in reversed(lines) if line.strip()), "")
    reason = f": {one_line(last_words, limit=_LONGEST_REASON)}" if last_words else ""
    return f"the process that writes the export ended with {how}{reason}; nothing was written"


def main() -> int:
    """Reads one request from standard input; returns the exit status."""
    # Standard output is for the answer; whatever libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        answer = _write(**request)
    except InputError as error:
        answer = {"refused": one_line(error)}
    except OSError as error:
        answer = {"failed": [error.errno, error.strerror, error.filename]}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    return 0


def _end_with_input() -> None:
    # Not through sys.stdin: an interpreter that ends by an exception aborts where a thread holds
    # its lock, and the exception would be told as signal 6.
    while os.read(0, 1024):
        pass
    os._exit(1)


def _write(folder: str, workdir: str, config: dict, evaluated: Sequence[str] = ()) -> dict:
    from hpa_jax.config import from_dict

    settings = from_dict(config)
    # This process has one device, however many trained.
    settings.devices.space = 0
    if settings.train.task == "channels":
        from hpa_jax.serving.channel_net.write import write_channel_net

        step, difference = write_channel_net(Path(folder), settings, Path(workdir))
        return {"step": step, "difference": difference}
    if settings.train.task == "cell_masks":
        from hpa_jax.serving.cell_net.write import write_cell_net

        step, difference = write_cell_net(Path(folder), settings, Path(workdir))
        return {"step": step, "difference": difference}
    return _write_labels(Path(folder), settings, workdir, evaluated)


def _write_labels(place: Path, settings, workdir: str, evaluated: Sequence[str]) -> dict:
    """The export of a net that tells labels, with the configuration `settings`."""
    import jax
    import numpy as np
    from flax.traverse_util import flatten_dict
    from safetensors.numpy import save

    from hpa_jax.evaluation.embedding_run import EmbeddingRun
    from hpa_jax.evaluation.predictor import Predictor
    from hpa_jax.files import write_atomically, write_json
    from hpa_jax.folders import export_manifest
    from hpa_jax.parallel import memory
    from hpa_jax.serving.artifact import load
    from hpa_jax.serving.calibration_images import calibration_images
    from hpa_jax.serving.description import describe
    from hpa_jax.serving.extras import write_extras
    from hpa_jax.serving.forward import export_forward, golden_images
    from hpa_jax.serving.kinds import LABELS, kind_of
    from hpa_jax.serving.reliability import stored_calibration, stored_temperature
    from hpa_jax.workdir import read_config

    # What is exported scores an image once, as it is.
    settings.evaluate.tta = "none"
    settings.evaluate.crops = 0
    learns_labels = settings.train.task != "metric"
    if learns_labels:
        predictor = Predictor(settings, Path(workdir), cells=True)
    else:
        predictor = EmbeddingRun(settings, Path(workdir))
    variables = {}
    for name, array in flatten_dict(jax.device_get(predictor.variables), sep="/").items():
        variables[name] = np.asarray(array)
    if not learns_labels:
        # Of thousands of antibodies, which the loss alone has a use for.
        variables.pop("params/head/classes/kernel", None)
    temperature = 1.0
    if settings.export.temperature:
        temperature = stored_temperature(predictor)
        # What follows this layer is linear in every head.
        for name in ("params/head/logits/kernel", "params/head/logits/bias"):
            variables[name] = (variables[name] / temperature).astype(np.float32)
    exported = export_forward(settings, variables)
    images = golden_images(settings.data.image_size)
    advice = memory.advice(settings, "export")
    with memory.explained(advice):
        call = memory.compile_within(
            "the golden output",
            jax.jit(exported.call),
            variables,
            images,
            devices=jax.devices(),
            advice=advice,
        )
        outputs = {name: np.asarray(array) for name, array in call(variables, images).items()}
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise InputError(
            "what the net gives for random images is not finite, so it is not exported; choose an "
            "earlier --config.evaluate.checkpoint"
        )
    golden = {"images": images, **outputs}
    trained = read_config(Path(workdir))
    calibration = None
    if learns_labels:
        calibration = stored_calibration(
            predictor, Path(workdir), trained.data.train_split, temperature
        )
    description = describe(settings, predictor, trained, calibration, temperature)
    if settings.export.onnx != "none":
        # The package is needed here alone.
        from hpa_jax.serving.onnx.build import build

        built = build(settings, variables, golden, lambda: calibration_images(settings))
        write_atomically(place / export_manifest.ONNX, built.content)
        description["onnx"] = built.description
    write_atomically(place / export_manifest.PARAMETERS, save(variables))
    write_atomically(place / export_manifest.FORWARD, bytes(exported.serialize()))
    write_atomically(place / export_manifest.GOLDEN, save(golden))
    write_json(place / export_manifest.DESCRIPTION, description)
    kind = kind_of(description)
    number = export_manifest.FORMAT
    if kind == LABELS:
        write_extras(place, settings, variables, golden, [Path(name) for name in evaluated])
    else:
        # What is beside it speaks of images and their labels.
        number = export_manifest.KIND_FORMAT
    single_label = learns_labels and predictor.single_label
    export_manifest.write_manifest(place, single_label=single_label, number=number)
    difference = load(place, "jax", kinds=(kind,)).check_golden()
    if settings.export.onnx != "none":
        load(place, "onnx", kinds=(kind,)).check_golden()
    return {"step": predictor.step, "difference": difference}


if __name__ == "__main__":
    sys.exit(main())
