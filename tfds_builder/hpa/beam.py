"""Fields dealt out to the machines of an Apache Beam runner: `--beam=OPTIONS`.

What is done with a field, and who writes its record, is the same as in the ordinary build, down to the bytes. Unusual:

- Beam is imported in functions alone. It wants another protobuf, and so has an environment of its own, of
  requirements/beam.lock.
- Items travel in files beside the dataset, on storage that every worker reaches: a list inside the pipeline would be
  part of the job's description, whose size Dataflow limits.
"""

import base64
import contextlib
import functools
import io
import logging
import pickle
import re
import shlex
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

from hpa_jax.errors import InputError

# The runner that is called DirectRunner would first download and start a program named Prism.
_DEFAULT_RUNNER = "--runner=FnApiRunner"


def options(text: str) -> Any:
    """Beam's PipelineOptions of a command line in one string; InputError on one that Beam does not know."""
    logging.disable(logging.WARNING)  # of Google's packages, which only some runners need
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise InputError(
            f"--beam needs the package {package}; pip install 'hpa_jax[build,beam]'"
        ) from None
    finally:
        logging.disable(logging.NOTSET)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            given = PipelineOptions([_DEFAULT_RUNNER, *shlex.split(text)])
            unknown = (
                given.get_all_options(retain_unknown_options=True).keys()
                - PipelineOptions([]).get_all_options()
            )
    except (ValueError, SystemExit) as error:
        reason = said.getvalue().rpartition("error: ")[2].strip() or error
        raise InputError(
            f"--beam={text!r}: {reason}; give Beam's options as --name=value, in quotes"
        ) from None
    for name in sorted(unknown):  # Beam itself would go on without it
        raise InputError(
            f"--beam={text!r}: Beam knows no option --{name}; correct it or leave it out"
        )
    return given


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Turns what a pipeline ends with, a worker's traceback in most cases, into its last line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        last = (str(error).strip() or repr(error)).splitlines()[-1]
        last = re.sub(r"^(RuntimeError: )*(.*?)(\s*\[while running .*)?$", r"\2", last)
        raise InputError(f"the Beam pipeline failed: {last}; the runner's log says more") from error


@dataclass(frozen=True)
class Beam:
    """A runner, by its `options`, and a `folder` for items, which is made and left to its owner to remove."""

    options: Any
    folder: epath.Path

    def map(self, function: Callable, items: Iterable) -> Iterator:
        """function(item) for each item, in the items' order; a pipeline of its own."""
        import apache_beam as beam

        with one_line(), beam.Pipeline(options=self.options) as pipeline:
            lines = self.items("map", enumerate(items)) | beam.Map(
                functools.partial(_called, function)
            )
            pipeline | lines | beam.io.WriteToText(str(self.folder / "mapped"))
        found = {}
        for file in self.folder.glob("mapped-*"):
            for line in file.read_text().splitlines():
                position, _, result = line.partition(" ")
                found[int(position)] = result
        yield from (_item(found[position]) for position in sorted(found))

    def items(self, name: str, items: Iterable) -> Any:
        """A PTransform that gives the items, in no order, to all workers."""
        import apache_beam as beam

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.items"
        path.write_text("".join(f"{_line(item)}\n" for item in items))
        return beam.io.ReadFromText(str(path)) | beam.Reshuffle() | beam.Map(_item)


def _called(function: Callable, item: tuple[int, Any]) -> str:
    position, argument = item
    return f"{position} {_line(function(argument))}"


def _line(item: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(item))).decode()


def _item(line: str) -> Any:
    return pickle.loads(zlib.decompress(base64.b64decode(line)))


def shard_keys(order: Sequence) -> list[int]:
    """Keys by which TFDS's Beam writer cuts examples into the shards that its ordinary writer would make of them.

    Both sort by a hash of the example's name. The ordinary one then cuts N examples before round(N s / S), S being the
    number of shards; the other cuts the range of the hashes evenly. Told to take keys as they are, it puts key k into
    shard floor(k S / greatest key): so an example's key is the middle of its place in the order, less a trifle where
    round() would round such a middle up, to the even number.

    Args:
      order: of each example, what the ordinary writer sorts by: distinct.

    Returns:
      of each example, its key.
    """
    last, keys = len(order) - 1, [0] * len(order)
    for place, i in enumerate(sorted(range(len(order)), key=order.__getitem__)):
        keys[i] = ((2 * place + 1) << 20) - place % 2 if place < last else len(order) << 21
    return keys
