"""Distributes the images over the machines of an Apache Beam runner: `--beam=OPTIONS`.

The same functions read and write an image as in the ordinary build, and the bytes are the same.

Notes:
- Beam is imported inside functions. It requires another version of protobuf, and so has an
  environment of its own, from requirements/beam.lock.
- Items travel in files beside the dataset, on storage that every worker reaches: a list inside the
  pipeline would be part of the job's description, whose size Dataflow limits.
"""

import base64
import contextlib
import functools
import io
import logging
import pickle  # nosec B403
import re
import shlex
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

from hpa_jax.errors import InputError

# The runner called DirectRunner would first download and start a program named Prism.
_DEFAULT_RUNNER = "--runner=FnApiRunner"


def options(text: str) -> Any:
    """Parses Beam's PipelineOptions.

    Args:
      text: a command line in one string.

    Raises:
      InputError: Beam is not installed, or does not know an option.
    """
    pipeline_options = _import_pipeline_options()
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            parsed = pipeline_options([_DEFAULT_RUNNER, *shlex.split(text)])
            given = parsed.get_all_options(retain_unknown_options=True)
            known = pipeline_options([]).get_all_options()
    except (ValueError, SystemExit) as error:
        reason = stderr.getvalue().rpartition("error: ")[2].strip() or error
        raise InputError(
            f"--beam={text!r}: {reason}; give Beam's options as --name=value, in quotes"
        ) from None
    # Beam itself would ignore them.
    for name in sorted(given.keys() - known):
        raise InputError(
            f"--beam={text!r}: Beam knows no option --{name}; correct it or leave it out"
        )
    return parsed


def _import_pipeline_options() -> type:
    # Warnings of Google's packages, which only some runners need.
    logging.disable(logging.WARNING)
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        package, _, _ = (error.name or "").partition(".")
        raise InputError(
            f"--beam needs the package {package}; pip install 'hpa_jax[build,beam]'"
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    return PipelineOptions


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Reduces a pipeline's error, in most cases a worker's traceback, to its last line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        last = (str(error).strip() or repr(error)).splitlines()[-1]
        last = re.sub(r"^(RuntimeError: )*(.*?)(\s*\[while running .*)?$", r"\2", last)
        raise InputError(f"the Beam pipeline failed: {last}; see the runner's log") from error


@dataclass(frozen=True)
class Beam:
    """A runner.

    Attributes:
      options: of `options`.
      folder: for items; it is created here and left to the owner to remove.
    """

    options: Any
    folder: epath.Path

    def map(self, function: Callable, items: Iterable) -> Iterator:
        """Yields function(item) in the order of the items; runs a pipeline of its own."""
        import apache_beam as beam

        call = functools.partial(_call, function)
        with one_line_errors(), beam.Pipeline(options=self.options) as pipeline:
            lines = self.items("map", enumerate(items)) | beam.Map(call)
            pipeline | lines | beam.io.WriteToText(str(self.folder / "mapped"))
        results = {}
        for file in self.folder.glob("mapped-*"):
            for line in file.read_text().splitlines():
                position, _, result = line.partition(" ")
                results[int(position)] = result
        for position in sorted(results):
            yield _from_line(results[position])

    def items(self, name: str, items: Iterable) -> Any:
        """Makes a PTransform that passes the items, in no order, to all workers."""
        import apache_beam as beam

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.items"
        path.write_text("".join(f"{_to_line(item)}\n" for item in items))
        return beam.io.ReadFromText(str(path)) | beam.Reshuffle() | beam.Map(_from_line)


def _call(function: Callable, item: tuple[int, Any]) -> str:
    position, argument = item
    return f"{position} {_to_line(function(argument))}"


def _to_line(item: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(item))).decode()


def _from_line(line: str) -> Any:
    # The lines are this build's own, in a folder that it has made.
    return pickle.loads(zlib.decompress(base64.b64decode(line)))  # nosec B301


def shard_keys(order: Sequence) -> list[int]:
    """Keys for which TFDS's Beam writer makes the same shards as its ordinary writer.

    Both sort by a hash of the example's name. The ordinary writer splits N examples before
    round(N s / S), S being the number of shards; the other splits the range of the hashes evenly.
    When it uses keys as they are, it puts key k into shard floor(k S / greatest key). So an
    example's key is the middle of its place in the order, minus a little where round() would round
    such a middle up to the even number.

    Args:
      order: of each example, what the ordinary writer sorts by: distinct.

    Returns:
      of each example, its key.
    """
    keys = [0] * len(order)
    last = len(order) - 1
    by_order = sorted(range(len(order)), key=order.__getitem__)
    for place, i in enumerate(by_order):
        if place == last:
            keys[i] = len(order) << 21
        else:
            keys[i] = ((2 * place + 1) << 20) - place % 2
    return keys
