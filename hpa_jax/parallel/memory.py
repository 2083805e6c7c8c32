"""Whether a compiled program has the memory that it needs, asked before it runs.

A program that has too little is otherwise ended by the kernel without a word, or by the allocator
with `std::bad_alloc`. What is compared is what the compiler reserves for it, and what the caller
keeps beside it. Libraries below take a little more (docs/results.md has how much), so that a
program that is refused could not have run, and one that is let through may still fail: hence the
warning where it becomes narrow.
"""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax

from hpa_jax.config import Config
from hpa_jax.environment import huge_pages
from hpa_jax.errors import InputError, one_line
from hpa_jax.parallel.host_memory import Room, host_room

NARROW = 0.8
"""Fraction of the room from which on a program may fail for what is not counted."""


class NoRoom(InputError):
    """Something needs more memory than is left."""


def program_bytes(program: jax.stages.Compiled) -> int:
    """Bytes that a run of a program takes on each device beyond its arguments; 0: not known."""
    sizes = program.memory_analysis()
    if sizes is None:
        return 0
    new_results = max(0, sizes.output_size_in_bytes - sizes.alias_size_in_bytes)
    return sizes.temp_size_in_bytes + new_results


def bytes_of(tree) -> int:
    """Bytes of the arrays in a tree (or of their shapes and types), as if on one device."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


class Rooms(NamedTuple):
    """What was left at one time to this process.

    Attributes:
      device: on the fullest of its devices; None where they do not say, or have no memory of their
        own.
      host: on its host; None where nothing says so.
      sharing: how many of its devices take their memory from the host's: CPU devices.
    """

    device: Room | None
    host: Room | None
    sharing: int

    def on_host(self, device_bytes: int, host_bytes: int = 0) -> int:
        """Bytes of the host's memory: those, and what CPU devices take from it."""
        return host_bytes + self.sharing * device_bytes

    def check(self, what: str, device_bytes: int, host_bytes: int = 0, *, advice: str) -> str:
        """Refuses what cannot fit.

        Args:
          what: needs memory, for messages: "a training step".
          device_bytes: on each device, beyond what was there.
          host_bytes: on the host, likewise, without what CPU devices take from it.
          advice: what would help, for the end of a message.

        Returns:
          A warning where it fits, but narrowly; else "".

        Raises:
          NoRoom: it needs more than was left.
        """
        on_device = _compare(what, device_bytes, self.device, advice)
        on_host = _compare(what, self.on_host(device_bytes, host_bytes), self.host, advice)
        # Huge pages take more than was compared.
        if on_host and huge_pages.turn_off():
            on_host += "; it goes on without huge pages"
        return on_device or on_host


def rooms(devices: Sequence[jax.Device]) -> Rooms:
    """What is left to this process.

    Args:
      devices: of the mesh; those of other processes are left out.
    """
    _return_freed_memory()
    local = [device for device in devices if device.process_index == jax.process_index()]
    sharing = sum(device.platform == "cpu" for device in local)
    return Rooms(_device_room(local), host_room(), sharing)


def compile_within(
    what: str, function: jax.stages.Wrapped, *arguments, devices: Sequence[jax.Device], advice: str
) -> jax.stages.Compiled:
    """Compiles a jitted function, as a call of it would.

    Args:
      what: the program is, for messages: "scoring a batch".
      function: jitted.
      arguments: of it, on the devices already.
      devices, advice: as for `rooms` and `Rooms.check`.

    Raises:
      NoRoom: it cannot run in the memory that is left.
    """
    program = function.lower(*arguments).compile()
    rooms(devices).check(what, program_bytes(program), advice=advice)
    return program


def _compare(what: str, needed: int, room: Room | None, advice: str) -> str:
    if room is None or needed <= NARROW * room.bytes:
        return ""
    sizes = (
        f"{what} needs {_gigabytes(needed)} more memory, and {_gigabytes(room.bytes)} are left "
        f"{room.where}"
    )
    if needed > room.bytes:
        raise NoRoom(f"{sizes}; {advice}")
    return f"memory is short: {sizes}; should the run be killed, {advice}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _device_room(devices: Sequence[jax.Device]) -> Room | None:
    """What is left on the fullest of some devices; None where they do not say."""
    rooms = []
    for device in devices:
        statistics = device.memory_stats() or {}
        if "bytes_limit" in statistics and "bytes_in_use" in statistics:
            left = statistics["bytes_limit"] - statistics["bytes_in_use"]
            rooms.append(Room(max(0, left), f"on {device.device_kind} {device.id}"))
    return min(rooms, default=None)


def _return_freed_memory() -> None:
    """Gives back what was freed, of compiling above all; where the C library is glibc."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def explained(advice: str) -> Iterator[None]:
    """Makes one line of an error that says that memory has run out.

    Args:
      advice: what would help.

    Raises:
      NoRoom: in place of that error.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = one_line(error, limit=200)
        raise NoRoom(f"out of memory ({reason}); {advice}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or JAX says that there was not enough memory."""
    if isinstance(error, MemoryError | NoRoom):
        return True
    if not isinstance(error, jax.errors.JaxRuntimeError):
        return False
    text = str(error)
    # A full disk has the same status.
    if "No space left" in text:
        return False
    return "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower()


def advice(config: Config, mode: str = "train") -> str:
    """What makes a run need less memory.

    Args:
      config: of the run.
      mode: of the command line.
    """
    if mode == "export":
        return "export it on a machine with more memory"
    if mode == "probe":
        return (
            f"try a smaller config.probe.batch_size (now {config.probe.batch_size}) or "
            f"config.data.batch_size (now {config.data.batch_size})"
        )
    batch_size = config.data.batch_size
    trains = mode in ("train", "plan")
    ways = []
    if batch_size > 1:
        smaller = f"a smaller config.data.batch_size (now {batch_size})"
        if trains:
            smaller += " with config.optim.accumulate"
        ways.append(smaller)
    if trains:
        if config.model.name.startswith("densenet") and config.model.block == "plain":
            ways.append("config.model.block=remat")
        ways.append("a smaller config.data.image_size")
    if not ways:
        return "it needs a machine with more memory"
    helps = f"try {' or '.join(ways)}"
    if mode == "train":
        helps += "; --mode=plan shows what takes how much"
    return helps
