"""The training loop. Its order is a contract: evaluate (the state before the step), save (before the data advances),
step, log.

The loop that resumes from a save therefore does just what the one that was not stopped would have done. The host waits
for the devices at log lines, evaluations and saves only.
"""

import contextlib
import signal
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from hpa_jax import assembly, metrics, thresholds
from hpa_jax.checkpoint import Checkpoints
from hpa_jax.config import Config
from hpa_jax.data import prefetched, train_batches
from hpa_jax.errors import EXIT_OK, EXIT_START_AGAIN, InputError, RunStopped
from hpa_jax.evaluate import evaluate_counts, make_count_step
from hpa_jax.labels import LABELS
from hpa_jax.mesh import check_batch_size, make_mesh, put_batch, replicated
from hpa_jax.runlog import RunLog
from hpa_jax.state import HEALTHY
from hpa_jax.workdir import claim, write_json

# Batches that the host may be ahead of the devices: enough to hide its work, few enough to bound what waits in memory.
STEPS_AHEAD = 2


def train(config: Config, workdir: Path) -> int:
    """Trains, or goes on with, the run in `workdir`.

    Returns:
      The exit status: EXIT_OK when finished, EXIT_START_AGAIN when a signal asked it to stop and it has saved.

    Raises:
      InputError: what the user asked for cannot be done.
      RunStopped: the run had to stop itself.
    """
    if config.checkpoint.metric not in metrics.FIGURES:
        raise InputError(
            f"config.checkpoint.metric={config.checkpoint.metric!r} is none of {', '.join(metrics.FIGURES)}"
        )
    stop = StopRequest()  # from here on: a signal that comes while the net is built is obeyed as well
    mesh = make_mesh()
    check_batch_size(config.data.batch_size, mesh)
    fields = assembly.open_sources(config)
    assembly.resolve(config, assembly.image_size_of(config, fields))
    eval_fields = assembly.open_split(config, config.data.eval_split)
    order = assembly.make_order(config, fields)
    steps = assembly.total_steps(config, order)
    eval_every = config.train.eval_every or max(1, round(order.epoch_length / config.data.batch_size))

    state, optimizer = assembly.start_state(config, mesh, steps, fields)
    train_step = jax.jit(
        assembly.make_step(config, optimizer, fields),
        donate_argnums=0,
        out_shardings=(replicated(mesh), replicated(mesh)),
    )
    count_step = make_count_step(config, mesh)
    claim(workdir, config)

    def put(batch):
        return {"id": batch["id"], **put_batch({name: batch[name] for name in ("image", "targets", "source")}, mesh)}

    batches = train_batches(fields, order, batch_size=config.data.batch_size, threads=config.data.threads)
    batches = iter(prefetched(batches, put, ahead=STEPS_AHEAD))

    checkpoints = Checkpoints(workdir / "checkpoints", metric=config.checkpoint.metric, keep=config.checkpoint.keep)
    restored = checkpoints.latest()
    step = first_step = restored or 0
    if restored is not None:
        state = checkpoints.restore(restored, state, batches)
    log = RunLog(workdir, first_step=first_step, total_steps=steps, log_ids=config.train.log_ids)
    pace, pending = Pace(config.data.batch_size), deque()
    log.say(_opening(config, workdir, fields, order, eval_fields, steps, step, mesh, state))
    try:
        while True:
            done, figures = step >= steps, None
            evaluated_before = step == restored and checkpoints.figures(step)
            if step > 0 and (done or step % eval_every == 0) and not evaluated_before and not stop:
                _stop_if_failed(state, checkpoints)
                with pace.paused():
                    figures = _evaluate(count_step, state, config, eval_fields, mesh, stop)
                if figures is not None:
                    _report(log, step, config.data.eval_split, figures)
            due = stop or (step > 0 and config.checkpoint.every and step % config.checkpoint.every == 0)
            if figures is not None or (due and step != restored):
                _stop_if_failed(state, checkpoints)
                checkpoints.save(step, state, batches, figures)
            if stop or done:
                break

            batch = next(batches)
            log.ids(step, batch.pop("id"))
            state, step_figures = train_step(state, batch)
            step += 1

            pending.append(step_figures)
            pace.steps += 1
            if len(pending) > STEPS_AHEAD:
                jax.block_until_ready(pending[-1 - STEPS_AHEAD])
            log.tick(step)
            if step % config.train.log_every == 0 or step == steps:
                _stop_if_failed(state, checkpoints)
                seen = jax.device_get(list(pending))
                means = {name: np.mean([f[name] for f in seen]) for name in seen[0]}
                log.record(step, "train", means | {"images_per_sec": pace.images_per_sec()})
                pending.clear()
                pace.restart()
            elif step == first_step + 1:
                jax.block_until_ready(step_figures)
                pace.restart()  # the first step compiles
        checkpoints.wait()
        if stop and not (done and checkpoints.figures(step)):
            log.say(f"stopped by {stop.name} after saving step {step} of {steps}; the same command goes on from there")
            return EXIT_START_AGAIN
        _finish(config, workdir, checkpoints, log)
        return EXIT_OK
    finally:
        with contextlib.ExitStack() as all_of_them:
            for close in (stop.restore_handlers, log.close, checkpoints.close):
                all_of_them.callback(close)


class Pace:
    """Images a second since the last log line, without evaluations."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self.restart()

    def restart(self) -> None:
        self.steps, self._since = 0, time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._since += time.monotonic() - begun

    def images_per_sec(self) -> float:
        return self.steps * self._batch_size / max(time.monotonic() - self._since, 1e-9)


class StopRequest:
    """True once SIGTERM or Ctrl-C came; the loop then saves and stops. A second Ctrl-C stops at once."""

    def __init__(self):
        self.name = ""
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, number: int, frame) -> None:
        self.name = signal.Signals(number).name
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])

    def __bool__(self) -> bool:
        return bool(self.name)

    def restore_handlers(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _stop_if_failed(state, checkpoints: Checkpoints) -> None:
    failed_at = int(state.failed_at)
    if failed_at == HEALTHY:
        return
    checkpoints.wait()
    good = checkpoints.latest()
    last = "there is no checkpoint yet" if good is None else f"the last good checkpoint is step {good}"
    raise RunStopped(
        f"the loss or its gradient was not finite in step {failed_at} (counted from 0); nothing was learnt from it and "
        f"nothing saved since; {last}; lower config.optim.lr, or look at that batch with config.train.log_ids=True"
    )


def _evaluate(count_step, state, config, eval_fields, mesh, stop) -> dict | None:
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    counts = evaluate_counts(count_step, variables, config, eval_fields, mesh, lambda: bool(stop))
    if counts is None:
        return None
    figures = metrics.figures(counts)
    return {name: figures[name] for name in metrics.FIGURES} | {
        "thresholds": thresholds.fit(counts).tolist(),
        "thresholds_split": config.data.eval_split,
    }


def _report(log: RunLog, step: int, split: str, figures: dict) -> None:
    log.record(step, split, {name: value for name, value in figures.items() if not name.startswith("thresholds")})
    log.say(
        f"step {step}, {split}: macro F1 {figures['macro_f1']:.4f}, micro F1 {figures['micro_f1']:.4f}, "
        f"accuracy {figures['accuracy']:.4f} at threshold 0.5"
    )


def _opening(config, workdir, fields, order, eval_fields, steps, step, mesh, state) -> str:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    device = mesh.devices.flat[0]
    begin = f"going on at step {step} of {steps}" if step else f"{steps} steps"
    return (
        f"{workdir}: {config.model.name} with the {config.model.head} head, {parameters / 1e6:.1f} million parameters, "
        f"{config.model.dtype}, {config.data.image_size} px\n"
        f"{', '.join(config.source_names())}: {len(fields)} fields of {config.data.train_split} to train on, "
        f"{order.epoch_length} an epoch; {len(eval_fields)} of {config.data.eval_split} to evaluate; "
        f"batches of {config.data.batch_size} on {mesh.size} x {device.device_kind}; {begin} (the first one compiles)"
    )


def _finish(config: Config, workdir: Path, checkpoints: Checkpoints, log: RunLog) -> None:
    best = checkpoints.best()
    figures = checkpoints.figures(best)
    names = [LABELS[i] for i in config.label_ids()]
    by_label = dict(zip(names, figures["thresholds"], strict=True))
    fitted = {"checkpoint": best, "split": figures["thresholds_split"], "thresholds": by_label}
    write_json(workdir / "thresholds.json", fitted)
    metric = config.checkpoint.metric
    log.say(f"finished; the best checkpoint is step {best} with {metric} {figures[metric]:.4f}, in {workdir}")
