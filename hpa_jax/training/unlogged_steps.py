"""The metrics of the training steps that no log line has averaged yet."""

from collections import deque
from collections.abc import Mapping, Sequence

import jax
import numpy as np


class UnloggedSteps:
    """Metrics of steps in their order: on the devices, those from before a resume on the host.

    They stay on the devices so that a step is not waited for, until they are asked for.
    """

    def __init__(self):
        self._steps: deque[Mapping[str, jax.Array | np.float32]] = deque()

    def append(self, metrics: Mapping[str, jax.Array]) -> None:
        """Adds a step that was started: scalars by name."""
        self._steps.append(metrics)

    def extend(self, saved: Mapping[str, Sequence[float]]) -> None:
        """Adds the steps that `to_lists` has written down."""
        for values in zip(*saved.values(), strict=True):
            step = {}
            for name, value in zip(saved, values, strict=True):
                step[name] = np.float32(value)
            self._steps.append(step)

    def clear(self) -> None:
        """Forgets all of them: they have been logged."""
        self._steps.clear()

    def wait(self, ahead: int) -> None:
        """Waits until at most `ahead` of these steps are still under way."""
        if len(self._steps) > ahead:
            jax.block_until_ready(self._steps[-1 - ahead])

    def mean(self) -> dict[str, np.floating]:
        """The mean of each metric over the steps; there has to be one."""
        steps = self._on_host()
        return {name: np.mean([one[name] for one in steps]) for name in steps[0]}

    def to_lists(self) -> dict[str, list[float]]:
        """`{METRIC: [VALUE, ...]}`, a value a step, which JSON holds exactly."""
        steps = self._on_host()
        names = steps[0] if steps else ()
        return {name: [float(one[name]) for one in steps] for name in names}

    def _on_host(self) -> list[dict[str, np.ndarray]]:
        return jax.device_get(list(self._steps))
