"""What the evaluations of all tasks share: batches of a split, and one program for them."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.loader import eval_batches
from hpa_jax.parallel.memory import compile_within
from hpa_jax.parallel.mesh import process_slice, put_batch


class EvaluationBatches:
    """The batches of a split, on the devices.

    Args:
      dataset: the images to evaluate on.
      mesh: of the devices.
      names: of the arrays that go to the devices.
      batch_size: images per step, over all processes.
      threads: that decode.
      most: batches that are read; None: all.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        mesh: Mesh,
        names: Sequence[str],
        *,
        batch_size: int,
        threads: int,
        most: int | None = None,
    ):
        self._dataset = dataset
        self._mesh = mesh
        self._names = names
        self._reading = {"batch_size": batch_size, "threads": threads}
        self._most = most

    def __call__(self, stopped: Callable[..., bool]) -> Iterator[dict | None]:
        """One pass.

        Args:
          stopped: whether to leave off; asked before each batch.

        Yields:
          Arrays by name; None, and nothing after it, where the pass was stopped.
        """
        batches = eval_batches(self._dataset, **self._reading, **process_slice())
        for number, batch in enumerate(itertools.islice(batches, self._most)):
            # Slow: the first batch compiles.
            if stopped(f"batch {number} of an evaluation", slow=number == 0):
                yield None
                return
            yield put_batch({name: batch[name] for name in self._names}, self._mesh)


class EvaluationProgram:
    """A step that is compiled when it is first called, within the memory that there is.

    Args:
      step: jitted.
      mesh: of the devices.
      advice: what to do where it does not fit into memory.
    """

    def __init__(self, step: jax.stages.Wrapped, mesh: Mesh, advice: str):
        self._step = step
        self._mesh = mesh
        self._advice = advice
        self._program: jax.stages.Compiled | None = None

    def __call__(self, *arguments) -> Any:
        """What the step returns.

        Raises:
          NoRoom: it does not fit into memory.
        """
        if self._program is None:
            self._program = compile_within(
                "an evaluation",
                self._step,
                *arguments,
                devices=self._mesh.devices.flat,
                advice=self._advice,
            )
        return self._program(*arguments)
