"""The devices are fed in time: batches are put onto them early, few at once, and what is lost by waiting is told."""

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
from hpa_jax.main import main, parse
from hpa_jax.parallel.chips import Chip
from hpa_jax.parallel.mesh import put_batch
from hpa_jax.tracking.data_wait import Feed, idle_in
from hpa_jax.training import experiment
from hpa_jax.training.loop import STEPS_AHEAD

CHIP = Chip("made up", 1e10, 2**30, 1e9, None, "for tests")


def simulated(reading, computing, steps=1000):
    """Share of the time lost, from the times at which a reader and a device of known speeds are done, and its waits.

    The reader is ahead by what prefetch holds, the host by STEPS_AHEAD, as in the training loop.
    """
    held = STEPS_AHEAD + 1
    taken, done, waits, read, now = [], [], [], 0.0, 0.0
    for k in range(steps):
        read = max(read, taken[k - held] if k >= held else 0.0) + reading
        begun, now = now, max(now, read)
        taken.append(now)
        waits.append((begun, now, done[-1] if done else begun))
        done.append(max(now, done[-1] if done else 0.0) + computing)
        if k >= STEPS_AHEAD:
            now = max(now, done[k - STEPS_AHEAD])
    return idle_in(waits) / done[-1], sum(end - begun for begun, end, _ in waits) / done[-1]


@pytest.mark.parametrize("reading, computing", [(1, 3), (3, 3), (4, 3), (4, 1)])
def test_the_share_lost_is_that_for_which_the_devices_had_nothing_to_do(reading, computing):
    lost, host_waits = simulated(reading, computing)
    assert lost == pytest.approx(max(0.0, 1 - computing / reading), abs=0.01)
    # What the host waits says less: nearly all of the time as soon as the reader is the slower one.
    assert host_waits < 0.01 if reading < computing else host_waits > 0.95 or reading == computing


class Device:
    """Takes `seconds` for each step that it is given, one after the other."""

    def __init__(self, seconds):
        self._seconds, self._work = seconds, ThreadPoolExecutor(1)

    def __call__(self):
        done = self._work.submit(time.sleep, self._seconds)
        return SimpleNamespace(block_until_ready=done.result)


def lost(reading, computing):
    """Of real threads that do nothing but sleep: the share of the time lost."""

    def reader():
        while True:
            time.sleep(reading)
            yield None

    feed, device, begun = Feed(reader()), Device(computing), time.monotonic()
    for _ in range(6):
        next(feed)
        outputs = device()
        feed.under_way(outputs)
    outputs.block_until_ready()
    seconds = time.monotonic() - begun
    share = feed.idle_seconds() / seconds
    assert feed.idle_seconds() == 0.0  # told once
    feed.close()
    return share


def test_a_feed_notes_when_steps_end():
    assert lost(reading=0.2, computing=0.02) > 0.5 > 0.4 > lost(reading=0.02, computing=0.2)


def test_batches_lie_on_the_devices_before_they_are_asked_for_and_never_more_than_three(small_run):
    _, _, config = parse([*small_run, "--workdir=none"])
    fields = pipeline.open_sources(config.data)
    config.data = pipeline.resolve_data(config.data, fields)
    mesh, put, threads = experiment.make_mesh(config), [], set()

    def put_and_count(batch):
        put.append(put_batch({"image": batch["image"]}, mesh))
        threads.add(threading.current_thread())
        return put[-1]

    order = pipeline.make_order(config.data, fields, config.train.seed)
    batches = train_batches(fields, order, batch_size=8, threads=2)
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
    """Of a run whose reader is slow, on a chip whose peaks are known: its lines, what it printed, what was compiled."""
    workdir, compiled, out = tmp_path_factory.mktemp("slow"), [], io.StringIO()
    flags = ("train.steps=12", "train.log_every=3", "train.eval_every=100", "data.threads=1")
    read, made, donated = ImageDataset.__getitem__, experiment.make_utilisation, []

    def slowly(self, i):
        time.sleep(0.05)  # 0.4 s a batch
        return read(self, i)

    def make_utilisation(config, mesh, program, state):
        donated.append(
            (
                program.memory_analysis().alias_size_in_bytes,
                sum(a.nbytes for a in jax.tree.leaves(state)),
            )
        )
        return made(config, mesh, program, state)

    def note(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration" and "train_step" in fun_name:
            compiled.append(fun_name)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(ImageDataset, "__getitem__", slowly)
        patch.setattr(experiment, "make_utilisation", make_utilisation)
        patch.setattr(experiment, "chip_of", lambda kind: CHIP if kind == "cpu" else None)
        jax.monitoring.register_event_duration_secs_listener(note)
        try:
            assert (
                main([*small_run, *(f"--config.{flag}" for flag in flags), f"--workdir={workdir}"])
                == 0
            )
        finally:
            jax.monitoring.unregister_event_duration_listener(note)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == "train"], out.getvalue(), compiled, donated


def test_a_slow_reader_shows_in_the_log_lines(slow_run):
    lines, out, *_ = slow_run
    assert len(lines) == 4 and all(0 <= line["data_wait"] <= 1 for line in lines)
    assert all(line["data_wait"] > 0.3 for line in lines[2:]), (
        lines
    )  # what was read while compiling is used up
    assert f"{lines[-1]['data_wait']:.0%} waiting for data" in out


def test_a_run_says_what_it_gets_out_of_a_chip_that_is_known(slow_run):
    lines, out, *_ = slow_run
    flops = {
        line["mfu"] * jax.device_count() * CHIP.flops_bf16 / line["images_per_sec"]
        for line in lines
    }
    assert (
        max(flops) == pytest.approx(min(flops)) and 1e6 < min(flops) < 1e9
    )  # of an image, the same at any speed
    for line in lines:
        assert line["hbm_share"] == pytest.approx(
            line["hbm_gb_per_sec"] * 1e9 / CHIP.hbm_bytes_per_s
        )
        steps_per_sec = line["images_per_sec"] / 8
        assert (
            line["hbm_gb_per_sec"] * 1e9 / steps_per_sec > 1e5
        )  # bytes of a step: more than the net's parameters
    assert f"MFU {lines[-1]['mfu']:.1%}" in out and "GB/s" in out


def test_the_step_is_compiled_once_and_its_state_donated(slow_run):
    _, _, compiled, donated = slow_run
    assert compiled == ["jit(train_step)"]
    ((aliased, state),) = donated
    assert aliased >= 0.99 * state > 0
