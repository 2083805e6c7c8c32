"""Which field comes when: how often each is shown in an epoch, and an order in which any position can be asked for.

How often is one number a field, its factor: 1 for all of them; more for fields that bear a rare label, the seed study's
way or that of LVIS (Gupta, Dollar, Girshick 2019, arXiv:1908.03195, 3.3); times the weight of the source it is from.

Unusual in the order: an epoch is a function of (seed, number of the epoch) alone, so that a run goes on at any position
without replaying anything. It uses nothing of NumPy's random functions but the raw numbers of a counter-based
generator, whose stream NumPy promises to keep, and integer arithmetic: the same order on any machine, in any version.
"""

import threading

import numpy as np

from hpa_jax.errors import InputError

SAMPLINGS = ("uniform", "seed", "repeat_factor")
"""Rare labels: not seen more often; the seed study's way, fields that bear one are repeated; LVIS's."""

_ONE = 1 << 32  # factors are whole numbers of 2^-32, so that sums are exact in any order


def factors(
    targets: np.ndarray,
    sampling: str,
    *,
    rare_below: int,
    rare_copies: float,
    repeat_threshold: float,
) -> np.ndarray:
    """How often each field is shown in an epoch: `targets` uint8 [N, L] -> float64 [N], 1 or more.

    Args:
      sampling: one of `SAMPLINGS`. `seed` takes `rare_below` and `rare_copies`, `repeat_factor` `repeat_threshold`.

    Raises:
      InputError: no such sampling.
    """
    if sampling == "uniform":
        return np.ones(len(targets))
    if sampling == "seed":
        return rare_repeats(targets, rare_below, rare_copies)
    if sampling == "repeat_factor":
        return repeat_factors(targets, repeat_threshold)
    raise InputError(
        f"config.data.sampling={sampling!r} is unknown; allowed: {', '.join(SAMPLINGS)}"
    )


def repeat_factors(targets: np.ndarray, threshold: float) -> np.ndarray:
    """LVIS's factors: a field's is the largest of its labels', `max(1, sqrt(threshold / f))`, f the label's share.

    Args:
      targets: uint8 [N, L], 0 or 1.
      threshold: share of the fields below which a label counts as rare; 0 leaves every factor at 1.

    Returns:
      float64 [N]; 1 for a field without labels.
    """
    found = np.ones(len(targets))
    shares = _counts(targets) / max(1, len(targets))
    for label in np.flatnonzero((shares > 0) & (shares < threshold)):
        np.maximum(
            found, np.sqrt(threshold / shares[label]), out=found, where=targets[:, label] > 0
        )
    return found


def rare_labels(targets: np.ndarray, below: int) -> np.ndarray:
    """`bool [L]`: borne by at least one field and by fewer than `below` of them."""
    counts = _counts(targets)
    return (counts > 0) & (counts < below)


def rare_fields(targets: np.ndarray, below: int) -> np.ndarray:
    """`bool [N]`: which fields bear a label that fewer than `below` fields bear."""
    return (targets[:, rare_labels(targets, below)] > 0).any(axis=1)


def rare_repeats(targets: np.ndarray, below: int, copies: float) -> np.ndarray:
    """The seed study's factors, float64 [N]: `copies` for fields that bear a rare label, 1 for the others.

    The study repeats such fields, each copy augmented anew, and says neither what is rare nor how often.
    """
    return np.where(rare_fields(targets, below), float(copies), 1.0)


def _counts(targets: np.ndarray) -> np.ndarray:
    return np.count_nonzero(targets, axis=0)


class Order:
    """An endless sequence of field numbers: `order[p]` is the field at position p, in epoch p // epoch_length.

    Within an epoch a field with factor r stands floor(r) or ceil(r) times, at random places: r times on average over
    the epochs, but for the rounding of the sum of the factors to `epoch_length`. So a field of factor 1 or more stands
    in every epoch. What the fractions of the factors add is drawn for all fields at once, as a systematic sample over
    a random order, so that an epoch's length never varies.

    `epoch_length` is the sum of the factors, rounded, 1 or more. An epoch is computed when it is first asked for and
    the last two are kept, int32. Safe to share between threads; can be pickled.
    """

    def __init__(self, factors: np.ndarray, seed: int):
        """Factors float64 [N], 1e-6 to 1e6; seed 0 or more.

        Raises:
          InputError: no factor, one that is not a number from 1e-6 to 1e6, or 2^31 positions and more an epoch.
        """
        factors = np.asarray(factors, np.float64)
        if factors.ndim != 1 or not len(factors):
            raise InputError(
                f"no field to draw from: factors of shape {list(factors.shape)}, not [fields]"
            )
        if not (factors.min() >= 1e-6 and factors.max() <= 1e6):  # also False for a NaN
            raise InputError(
                f"fields are to be shown {factors.min():g} to {factors.max():g} times an epoch; allowed: 1e-6 to 1e6"
            )
        if factors.sum() >= 2**31 - 1:
            raise InputError(
                f"an epoch of {factors.sum():.3g} fields is too long: use smaller factors or weights"
            )
        scaled = np.rint(factors * _ONE).astype(np.int64)
        self._whole = (scaled >> 32).astype(np.int32)
        self._split = np.flatnonzero(scaled & (_ONE - 1)).astype(
            np.int32
        )  # the fields whose factors are not whole
        self._parts = (scaled[self._split] & (_ONE - 1)).astype(np.uint32)
        self._seed = seed
        self.fields = len(factors)
        self.epoch_length = max(1, (int(scaled.sum()) + _ONE // 2) >> 32)
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._epochs: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict:
        return {
            name: value for name, value in self.__dict__.items() if name not in ("_lock", "_epochs")
        }

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._start()

    def __getitem__(self, position: int) -> int:
        if position < 0:
            raise IndexError(f"position {position} is before the first")
        epoch, place = divmod(position, self.epoch_length)
        return int(self.epoch(epoch)[place])

    def epoch(self, number: int) -> np.ndarray:
        """The fields of one epoch in their order, int32 [epoch_length], not to be written to."""
        found = self._epochs.get(number)
        if found is None:
            with self._lock:  # the other threads wait here, rather than compute the same
                found = self._epochs.get(number)
                if found is None:
                    found = self._draw(number)
                    while len(self._epochs) > 1:
                        del self._epochs[next(iter(self._epochs))]
                    self._epochs[number] = found
        return found

    def _draw(self, number: int) -> np.ndarray:
        source = np.random.Philox(np.random.SeedSequence(self._seed, spawn_key=(number,)))
        fields = np.arange(self.fields, dtype=np.int32)
        counts = self._whole
        if len(self._split):
            counts = counts.copy()
            counts[self._split] += self._drawn(source)
        if (counts != 1).any():
            fields = np.repeat(fields, counts)
        fields = fields[_shuffled(len(fields), source)]
        fields.flags.writeable = False
        return fields

    def _drawn(self, source: np.random.Philox) -> np.ndarray:
        """Which of the fields with a fractional part stand once more than the whole part says: bool, as many as those.

        The parts lie end to end, in random order, on a line; a field is drawn where a point falls on its part.
        """
        wanted = self.epoch_length - int(self._whole.sum())
        order = _shuffled(len(self._parts), source)
        ends = np.cumsum(self._parts[order], dtype=np.int64)
        points, rest = divmod(int(ends[-1]), _ONE)
        # The start decides whether the line holds `points` or one more: it is drawn among those that give `wanted`.
        low, high = (0, rest) if wanted > points else (rest, _ONE)
        start = low + (int(source.random_raw()) * (high - low) >> 64)
        passed = (
            ends - start + _ONE - 1
        ) >> 32  # points start, start + 1, ... that lie before each end
        drawn = np.empty(len(order), bool)
        drawn[order] = np.diff(passed, prepend=0) > 0
        return drawn


def _shuffled(length: int, source: np.random.Philox) -> np.ndarray:
    """The numbers 0 to `length` - 1 in random order, int64: sorted by random numbers whose last bits they are."""
    bits = max(1, (length - 1).bit_length())
    keys = source.random_raw(length)
    keys >>= np.uint64(bits)
    keys <<= np.uint64(bits)
    keys |= np.arange(length, dtype=np.uint64)
    keys.sort()
    keys &= np.uint64((1 << bits) - 1)
    return keys.view(np.int64)
