"""The seconds of a step that is repeated, and the images a second that follow from them."""

import statistics
import time
from collections.abc import Callable


def step_seconds(step: Callable[[], object], seconds: float, *, least: int) -> list[float]:
    """Calls a step for so many seconds, and at least so often.

    Returns:
      The seconds of each call.
    """
    taken = []
    while sum(taken) < seconds or len(taken) < least:
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return taken


def images_per_second(seconds: list[float], batch: int) -> float:
    """By the median of the seconds that steps took."""
    return batch / statistics.median(seconds)
