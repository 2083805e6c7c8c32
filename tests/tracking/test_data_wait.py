"""Batches reach the devices early, few at a time, and the time lost by waiting is measured."""

import contextlib
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import jax
import pytest

from hpa_jax.data import pipeline
from hpa_jax.data.dataset import ImageDataset
from hpa_jax.data.loader import prefetch, train_batches
from hpa_jax.main import main
from hpa_jax.parallel.chips import Chip
from hpa_jax.parallel.mesh import put_batch
from hpa_jax.recipes import parse
from hpa_jax.tracking.data_wait import DataWaitTimer, idle_seconds_of
from hpa_jax.training import components, parts
from hpa_jax.training.run import STEPS_AHEAD

CHIP = Chip("made up", 1e10, 2**30, 1e9, None, "for tests")


def simulated(reading, computing, steps=1000):
    """Fractions of the time that the devices were idle, and that the host waited.

    From the times at which a reader and a device of known speeds are done. The reader is ahead by
    what prefetching holds, the host by STEPS_AHEAD, as in the training loop.
    """
    prefetch_batches = STEPS_AHEAD + 1
    taken, done, waits = [], [], []
    read = now = 0.0
    for step in range(steps):
        if step >= prefetch_batches:
            read = max(read, taken[step - prefetch_batches])
        read += reading
        start = now
        now = max(now, read)
        taken.append(now)
        waits.append((start, now, done[-1] if done else start))
        done.append(max(now, done[-1] if done else 0.0) + computing)
        if step >= STEPS_AHEAD:
            now = max(now, done[step - STEPS_AHEAD])
    host_waits = sum(end - start for start, end, _ in waits)
    return idle_seconds_of(waits) / done[-1], host_waits / done[-1]


@pytest.mark.parametrize("reading, computing", [(1, 3), (3, 3), (4, 3), (4, 1)])
def test_time_is_lost_while_the_devices_have_nothing_to_do(reading, computing):
    lost, host_waits = simulated(reading, computing)
    assert lost == pytest.approx(max(0.0, 1 - computing / reading), abs=0.01)
    # The host's waits say less: nearly all of the time as soon as the reader is the slower one.
    assert host_waits < 0.01 if reading < computing else host_waits > 0.95 or reading == computing


class Device:
    """Takes `seconds` for each step that it is given, one after the other."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._work = ThreadPoolExecutor(1)

    def __call__(self):
        done = self._work.submit(time.sleep, self._seconds)
        return SimpleNamespace(block_until_ready=done.result)


def lost(reading, computing):
    """The fraction of the time lost, with real threads that only sleep."""

    def reader():
        while True:
            time.sleep(reading)
            yield None

    batches = DataWaitTimer(reader())
    device = Device(computing)
    start = time.monotonic()
    for _ in range(6):
        next(batches)
        outputs = device()
        batches.step_dispatched(outputs)
    outputs.block_until_ready()
    seconds = time.monotonic() - start
    fraction = batches.idle_seconds() / seconds
    assert batches.idle_seconds() == 0.0  # counted once
    batches.close()
    return fraction


def test_the_timer_notes_when_steps_end():
    # Near 0.9 and 0; a busy machine sleeps longer.
    assert lost(reading=0.2, computing=0.02) > lost(reading=0.02, computing=0.2)


def test_batches_are_on_the_devices_ahead_of_time_and_never_more_than_three(small_run):
    _, _, config = parse([*small_run, "--workdir=none"])
    dataset = pipeline.open_sources(config.data)
    data = pipeline.resolve_data(config.data, dataset)
    mesh = parts.make_mesh(data, config.model)
    put, threads = [], set()

    def put_and_count(batch):
        put.append(put_batch({"image": batch["image"]}, mesh))
        threads.add(threading.current_thread())
        return put[-1]

    order = pipeline.make_order(data, dataset, config.train.seed)
    batches = train_batches(dataset, order, batch_size=8, threads=2)
    batches = iter(prefetch(batches, put_and_count, ahead=STEPS_AHEAD))
    for asked in range(1, 5):
        batch = next(batches)
        assert batch is put[asked - 1] and isinstance(batch["image"], jax.Array)
        deadline = time.monotonic() + 60
        while len(put) < asked + STEPS_AHEAD + 1 and time.monotonic() < deadline:
            time.sleep(0.01)  # as long as a step takes
        time.sleep(0.1)
        assert len(put) == asked + STEPS_AHEAD + 1  # two that wait, and the one that waits for room
    assert threading.current_thread() not in threads
    batches.close()


@pytest.fixture(scope="module")
def slow_run(small_run, tmp_path_factory, compiled_once):
    """A run whose reader is slow, on a chip whose peaks are known.

    Its training metrics, what it printed, what was compiled, and the bytes of its state donated.
    """
    workdir = tmp_path_factory.mktemp("slow")
    out = io.StringIO()
    flags = ("train.steps=12", "train.log_every=3", "train.eval_every=100", "data.threads=1")
    read = ImageDataset.__getitem__
    made = components.make_utilization
    compiled, donated = [], []

    def slowly(self, i):
        time.sleep(0.1)  # 0.8 s a batch
        return read(self, i)

    def make_utilization(setup, program, state, *, counts_bytes):
        aliased = program.memory_analysis().alias_size_in_bytes
        donated.append((aliased, sum(leaf.nbytes for leaf in jax.tree.leaves(state))))
        return made(setup, program, state, counts_bytes=counts_bytes)

    def note(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration" and "train_step" in fun_name:
            compiled.append(fun_name)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(ImageDataset, "__getitem__", slowly)
        patch.setattr(components, "make_utilization", make_utilization)
        patch.setattr(components, "chip_of", lambda kind: CHIP if kind == "cpu" else None)
        jax.monitoring.register_event_duration_secs_listener(note)
        try:
            settings = [f"--config.{flag}" for flag in flags]
            assert main([*small_run, *settings, f"--workdir={workdir}"]) == 0
        finally:
            jax.monitoring.unregister_event_duration_listener(note)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == "train"], out.getvalue(), compiled, donated


def test_a_slow_reader_shows_in_the_log_lines(slow_run):
    lines, out, *_ = slow_run
    assert len(lines) == 4 and all(0 <= line["data_wait"] <= 1 for line in lines)
    # What was read while compiling is used up by then.
    assert all(line["data_wait"] > 0.1 for line in lines[2:]), lines
    assert f"{lines[-1]['data_wait']:.0%} waiting for data" in out


def test_a_run_logs_the_utilization_of_a_chip_that_is_known(slow_run):
    lines, out, *_ = slow_run
    peak_flops = jax.device_count() * CHIP.flops_bf16
    flops = [line["mfu"] * peak_flops / line["images_per_sec"] for line in lines]
    # Of an image, the same at any speed.
    assert max(flops) == pytest.approx(min(flops)) and 1e6 < min(flops) < 1e9
    for line in lines:
        bytes_per_sec = line["hbm_gb_per_sec"] * 1e9
        assert line["hbm_fraction"] == pytest.approx(bytes_per_sec / CHIP.hbm_bytes_per_s)
        steps_per_sec = line["images_per_sec"] / 8
        # A step moves more bytes than the net has parameters.
        assert bytes_per_sec / steps_per_sec > 1e5
    assert f"MFU {lines[-1]['mfu']:.1%}" in out and "GB/s" in out


def test_the_step_is_compiled_once_and_its_state_donated(slow_run):
    _, _, compiled, donated = slow_run
    assert compiled == ["jit(train_step)"]
    ((aliased, state),) = donated
    assert aliased >= 0.99 * state > 0
