"""What cannot fit into memory is refused before it runs; what runs out of it is one line."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.parallel import memory
from hpa_jax.parallel.host_memory import Room

GB = 10**9


def rooms(device=None, host=None, sharing=0):
    def room(size, where):
        return None if size is None else Room(size, where)

    return memory.Rooms(room(device, "on a chip"), room(host, "on this machine"), sharing)


@pytest.mark.parametrize(
    ("left", "device_bytes", "host_bytes", "outcome"),
    [
        (rooms(), 10**15, 10**15, "fits"),  # nothing says how much is left
        (rooms(device=GB), GB // 2, 10**15, "fits"),
        (rooms(device=GB), GB, 0, "narrow"),
        (rooms(device=GB), GB + 1, 0, "refused"),
        (rooms(device=GB, host=GB), GB // 2, GB + 1, "refused"),
        # Two CPU devices take theirs from the host.
        (rooms(host=GB, sharing=2), GB // 4, GB // 4, "fits"),
        (rooms(host=GB, sharing=2), GB // 2, 0, "narrow"),
        (rooms(host=GB, sharing=2), GB // 2, 1, "refused"),
    ],
)
def test_what_is_needed_is_compared_with_what_is_left(left, device_bytes, host_bytes, outcome):
    if outcome == "refused":
        with pytest.raises(InputError, match=r"^a step needs 1\.00 GB .* 1\.00 GB .*; wait$"):
            left.check("a step", device_bytes, host_bytes, advice="wait")
        return
    warning = left.check("a step", device_bytes, host_bytes, advice="wait")
    assert bool(warning) == (outcome == "narrow")
    assert not warning or warning.startswith("memory is short: a step needs 1.00 GB")


def test_where_the_host_s_memory_is_short_huge_pages_are_given_up(monkeypatch):
    turned_off = []
    monkeypatch.setattr(memory.huge_pages, "turn_off", lambda: turned_off.append(1) or True)
    rooms(device=GB, host=2 * GB).check("a step", GB, 0, advice="wait")
    assert not turned_off
    warning = rooms(host=GB, sharing=1).check("a step", GB, 0, advice="wait")
    assert warning.endswith("wait; it goes on without huge pages")


def test_the_devices_of_this_process_share_the_memory_of_its_host():
    left = memory.rooms(jax.devices())
    assert left.device is None
    assert left.host.bytes > 0
    assert left.sharing == len(jax.devices()) == 8


def test_what_cpu_devices_take_counts_on_their_host():
    assert rooms(host=GB, sharing=3).on_host(5, 7) == 22
    assert rooms(device=GB, host=GB).on_host(5, 7) == 7


def chip(number, statistics):
    """Stands in for a device with memory of its own, of which this machine has none."""
    return SimpleNamespace(
        id=number,
        device_kind="TPU v5e",
        platform="tpu",
        process_index=0,
        memory_stats=lambda: statistics,
    )


def test_the_fullest_of_the_devices_counts():
    chips = [
        chip(0, {"bytes_limit": 16 * GB, "bytes_in_use": 2 * GB}),
        chip(1, {"bytes_limit": 16 * GB, "bytes_in_use": 7 * GB}),
        chip(2, None),
    ]
    left = memory.rooms(chips)
    assert left.device == (9 * GB, "on TPU v5e 1")
    assert left.sharing == 0
    assert memory.rooms(chips[2:]).device is None


def square_sums(x):
    return jnp.sort(x @ x).sum(0)


def test_a_program_is_refused_before_it_runs_or_runs_as_it_would():
    function = jax.jit(square_sums)
    side = 64
    x = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    program = memory.compile_within("a sum", function, x, devices=jax.devices(), advice="wait")
    np.testing.assert_array_equal(program(x), function(x))
    assert 4 * side * side <= memory.program_bytes(program) < 4 * side * side * 10

    # Shapes alone: 2^40 bytes an array are more than any machine that tests this has left.
    large = jax.ShapeDtypeStruct((2**19, 2**19), np.float32)
    with pytest.raises(InputError, match=r"^a sum needs \d+\.\d\d GB more memory.*; wait$"):
        memory.compile_within("a sum", function, large, devices=jax.devices(), advice="wait")


def test_a_donated_argument_takes_no_memory_for_its_result():
    x = jax.ShapeDtypeStruct((1000, 1000), np.float32)
    kept = jax.jit(lambda x: x + 1).lower(x).compile()
    donated = jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile()
    assert memory.program_bytes(kept) - memory.program_bytes(donated) == 4_000_000


def test_an_allocation_that_fails_is_one_line():
    with pytest.raises(InputError, match=r"^out of memory \(.*\); wait$"):
        with memory.explained("wait"):
            np.ones(2**60, np.uint8)
    # What JAX raises where a device has no more.
    with pytest.raises(InputError, match=r"^out of memory \(RESOURCE_EXHAUSTED.*\); wait$"):
        with memory.explained("wait"):
            jax.block_until_ready(jax.jit(lambda: jnp.ones(2**50, jnp.uint8))())


def test_other_errors_stay_what_they_are():
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: No space left on device")
    for error in (full, jax.errors.JaxRuntimeError("INTERNAL: x"), ValueError("out of memory")):
        with pytest.raises(type(error)) as raised, memory.explained("wait"):
            raise error
        assert raised.value is error


def test_the_advice_is_what_the_mode_can_change():
    config = Config()
    config.data.batch_size = 16
    config.model.name = "densenet121"
    train = memory.advice(config)
    assert "config.data.batch_size (now 16) with config.optim.accumulate" in train
    assert "config.model.block=remat" in train and "--mode=plan" in train
    assert "image_size" in train
    evaluate = memory.advice(config, "evaluate")
    assert "batch_size" in evaluate and "image_size" not in evaluate and "block" not in evaluate
    config.data.batch_size = 1
    assert memory.advice(config, "evaluate") == "it needs a machine with more memory"
