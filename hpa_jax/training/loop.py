"""The training loop. Its order is a contract: evaluate (the state before the step), save (before the data advances),
step, log.

The loop that resumes from a save therefore does just what the one that was not stopped would have done. The host waits
for the devices at log lines, evaluations and saves only.
"""

import contextlib
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np

from hpa_jax.config import Config, profile_window, to_dict
from hpa_jax.data import pipeline
from hpa_jax.data.loader import prefetched, train_batches
from hpa_jax.errors import EXIT_OK, EXIT_START_AGAIN, InputError, RunStopped
from hpa_jax.files import write_json
from hpa_jax.labels import LABELS
from hpa_jax.optim.plateau import has_stalled
from hpa_jax.parallel.compile import compile_for
from hpa_jax.parallel.mesh import process_slice, put_batch, replicated
from hpa_jax.parallel.preemption import PreemptionSignal
from hpa_jax.parallel.process_group import SINGLE_PROCESS, ProcessGroup, SingleProcess
from hpa_jax.tracking.data_wait import DataWaitTimer
from hpa_jax.tracking.logger import RunLogger, SilentLogger
from hpa_jax.tracking.profiler import StepProfiler
from hpa_jax.tracking.throughput import StepTimer, Utilization
from hpa_jax.training import experiment
from hpa_jax.training.checkpoint import Checkpoints, begun
from hpa_jax.training.evaluator import FIGURES, Validation
from hpa_jax.training.state import HEALTHY, TrainState
from hpa_jax.workdir import claim

# Batches that the host may be ahead of the devices: enough to hide its work, few enough to bound what waits in memory.
# At most three lie on the devices beyond those of the steps under way (two that wait, one being put), as uint8.
STEPS_AHEAD = 2


def train(
    config: Config, workdir: Path, peers: SingleProcess | ProcessGroup = SINGLE_PROCESS
) -> int:
    """Trains, or goes on with, the run in `workdir`.

    Args:
      config, workdir: of the run.
      peers: the other processes of the run, of which the first one writes what is not saved together.

    Returns:
      The exit status: EXIT_OK when finished, EXIT_START_AGAIN when a signal asked it to stop and it has saved.

    Raises:
      InputError: what the user asked for cannot be done.
      RunStopped: the run had to stop itself.
    """
    if config.checkpoint.metric not in FIGURES:
        raise InputError(
            f"config.checkpoint.metric={config.checkpoint.metric!r} is none of {', '.join(FIGURES)}"
        )
    stop = PreemptionSignal(
        peers
    )  # from here on: a signal that comes while the net is built is obeyed as well
    peers.check_same_config(to_dict(config))
    fields = pipeline.open_sources(config)
    pipeline.resolve(config, pipeline.image_size_of(config, fields))
    mesh = experiment.make_mesh(config)
    eval_fields = pipeline.open_split(config.data, config.data.eval_split)
    peers.check_equal("the data to train on (as SHA-256)", fields.fingerprint())
    peers.check_equal("the data to evaluate on (as SHA-256)", eval_fields.fingerprint())
    order = pipeline.make_order(config, fields)
    steps = experiment.total_steps(config, order)
    eval_every = config.train.eval_every or max(
        1, round(order.epoch_length / config.data.batch_size)
    )

    variables = loaded = None
    if config.model.pretrained and peers.broadcast(not begun(workdir / "checkpoints")):
        variables, loaded = experiment.pretrained_variables(config, fields)
    state, optimizer = experiment.initial_state(config, mesh, steps, fields, variables)
    train_step = jax.jit(
        experiment.make_step(config, optimizer, fields, mesh),
        donate_argnums=0,
        out_shardings=(replicated(mesh), replicated(mesh)),
    )
    validation = Validation(config, mesh, eval_fields, fields, order, stop.should_stop)
    rate = experiment.make_learning_rate(config, steps)
    if peers.is_primary:
        claim(workdir, config)
    if peers.is_primary and loaded is not None:
        write_json(workdir / "pretrained.json", loaded.to_dict())

    def put(batch):
        return put_batch({name: batch[name] for name in ("image", "targets", "source")}, mesh)

    peers.barrier("opening the checkpoints")
    checkpoints = Checkpoints(
        workdir / "checkpoints", metric=config.checkpoint.metric, keep=config.checkpoint.keep
    )
    restored = peers.broadcast(
        checkpoints.latest()
    )  # a shared folder may look different from another host
    step = first_step = restored or 0
    position = step * config.data.batch_size
    if restored is not None:
        peers.report_progress(f"restoring step {restored}", slow=True)
        state = checkpoints.restore(restored, state)
        position = checkpoints.position(restored) or position
    data = {"batch_size": config.data.batch_size, "threads": config.data.threads, "start": position}
    batches = train_batches(fields, order, **data, **process_slice())
    batches = iter(prefetched(batches, put, ahead=STEPS_AHEAD))
    if peers.is_primary:
        log = RunLogger(workdir, first_step=first_step, total_steps=steps)
    else:
        log = SilentLogger()
    feed, pace, pending = DataWaitTimer(batches), StepTimer(), deque()
    program = utilisation = None  # the step as compiled, once one is to be done
    log.info(_opening(config, workdir, fields, order, eval_fields, steps, step, mesh, state))
    if loaded is not None:
        log.info(str(loaded))
    window = profile_window(config.train.profile) if jax.process_index() == 0 else None
    aside = partial(_aside, pace, peers)
    trace = StepProfiler(
        window,
        workdir / "profile",
        first_step=step,
        total_steps=steps,
        log=log.info,
        untimed=aside,
    )
    stalled = has_stalled(state.progress, config.train.stop_after)
    already = restored is not None and peers.broadcast(bool(checkpoints.figures(restored)))
    try:
        while True:
            stop.should_stop(f"reading the batch of step {step}")
            done, figures = stalled or step >= steps, None
            evaluated_before = step == restored and already
            if step > 0 and (done or step % eval_every == 0) and not evaluated_before and not stop:
                _stop_if_failed(state, checkpoints)
                with pace.paused():
                    scale_before = _rate_scale(state)
                    state, figures = validation(state)
                if figures is not None:
                    _report(log, step, config, figures)
                    stalled = has_stalled(state.progress, config.train.stop_after)
                    done = done or stalled
                    if _rate_scale(state) < scale_before and not done:
                        log.info(
                            f"step {step}: from here on the rate is {_rate_scale(state):.3g} of the schedule's"
                        )
            due = stop or (
                step > 0 and config.checkpoint.every and step % config.checkpoint.every == 0
            )
            if figures is not None or (due and step != restored):
                _stop_if_failed(state, checkpoints)
                peers.report_progress(f"saving step {step}", slow=True)
                checkpoints.save(
                    step, state, position + (step - first_step) * config.data.batch_size, figures
                )
            if stop or done:
                break

            if program is None:
                peers.report_progress("compiling the step", slow=True)
                batches.start_prefetch()  # the first batches are read while the step is compiled
                given = experiment.abstract_batch(config, fields, mesh)
                program = compile_for(mesh.devices.flat[0].platform, train_step, state, given)
                utilisation = experiment.make_utilisation(config, mesh, program, state)
                peers.barrier("the first step")
                pace.restart()
            trace.before_step(step, state)
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                batch = next(feed)
                peers.report_progress(f"step {step}", slow=step == first_step)
                state, step_figures = program(state, batch)
                feed.step_dispatched(step_figures)
                pending.append(step_figures)
                if len(pending) > STEPS_AHEAD:
                    jax.block_until_ready(pending[-1 - STEPS_AHEAD])
            trace.after_step(step, state)
            step += 1
            pace.steps += 1
            log.update_progress(step)
            if step % config.train.log_every == 0 or step == steps:
                _stop_if_failed(state, checkpoints)
                seen = jax.device_get(list(pending))
                means = {name: np.mean([f[name] for f in seen]) for name in seen[0]}
                means["lr"] = rate(step - 1) * _rate_scale(state)
                log.log_metrics(
                    step, "train", means | _speed(config.data.batch_size, pace, feed, utilisation)
                )
                pending.clear()
                pace.restart()
            elif step == first_step + 1:
                jax.block_until_ready(step_figures)
                feed.idle_seconds()  # the first batch was waited for before anything ran
                pace.restart()
        checkpoints.wait()
        if stop and not (done and checkpoints.figures(step)):
            log.info(
                f"stopped by {stop.signal_name} after saving step {step} of {steps}; the same command goes on from there"
            )
            return EXIT_START_AGAIN
        if peers.is_primary:
            _finish(config, workdir, checkpoints, log, stalled)
        return EXIT_OK
    finally:
        with contextlib.ExitStack() as all_of_them:
            for close in (stop.restore_handlers, log.close, checkpoints.close, feed.close):
                all_of_them.callback(close)
            all_of_them.callback(trace.close, step)


def _stop_if_failed(state, checkpoints: Checkpoints) -> None:
    failed_at = int(state.failed_at)
    if failed_at == HEALTHY:
        return
    checkpoints.wait()
    good = checkpoints.latest()
    last = (
        "there is no checkpoint yet" if good is None else f"the last good checkpoint is step {good}"
    )
    raise RunStopped(
        f"the loss or its gradient was not finite in step {failed_at} (counted from 0); nothing was learnt from it and "
        f"nothing saved since; {last}; lower config.optim.lr"
    )


def _rate_scale(state: TrainState) -> float:
    return 1.0 if state.progress is None else float(state.progress.rate_scale)


@contextlib.contextmanager
def _aside(pace: StepTimer, peers: SingleProcess | ProcessGroup) -> Iterator[None]:
    """For what belongs to no step: its time does not count, and the other processes give it more."""
    peers.report_activity("writing a trace")
    with pace.paused():
        yield


def _speed(
    batch_size: int, pace: StepTimer, feed: DataWaitTimer, utilisation: Utilization
) -> dict[str, float]:
    """Since the last log line: images a second, the share of the time lost waiting for data, shares of the peaks."""
    seconds = pace.seconds()
    images = pace.steps * batch_size / seconds
    waiting = {"images_per_sec": images, "data_wait": min(1.0, feed.idle_seconds() / seconds)}
    return waiting | utilisation.metrics(images, pace.steps / seconds)


def _report(log: RunLogger, step: int, config: Config, figures: dict) -> None:
    split, metric = config.data.eval_split, config.checkpoint.metric
    log.log_metrics(step, split, {name: figures[name] for name in FIGURES})
    chosen = (
        ""
        if metric in ("macro_f1", "micro_f1", "accuracy")
        else f"{metric} {figures[metric]:.4f}; "
    )
    log.info(
        f"step {step}, {split}: {chosen}macro F1 {figures['macro_f1']:.4f}, micro F1 {figures['micro_f1']:.4f}, "
        f"accuracy {figures['accuracy']:.4f} at threshold 0.5"
    )


def _opening(config, workdir, fields, order, eval_fields, steps, step, mesh, state) -> str:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    on, space = f"{mesh.size} x {mesh.devices.flat[0].device_kind}", mesh.shape["space"]
    on += f", the height of each image cut over {space}" if space > 1 else ""
    begin = f"going on at step {step} of {steps}" if step else f"{steps} steps"
    return (
        f"{workdir}: {config.model.name} with the {config.model.head} head, {parameters / 1e6:.1f} million parameters, "
        f"{config.model.dtype}, {config.data.image_size} px\n"
        f"{', '.join(config.source_names())}: {len(fields)} fields of {config.data.train_split} to train on, "
        f"{order.epoch_length} an epoch; {len(eval_fields)} of {config.data.eval_split} to evaluate; "
        f"batches of {config.data.batch_size} on {on}; {begin} (the first one compiles)"
    )


def _finish(
    config: Config, workdir: Path, checkpoints: Checkpoints, log: RunLogger, stalled: bool
) -> None:
    best = checkpoints.best()
    figures = checkpoints.figures(best)
    names = [LABELS[i] for i in config.label_ids()]
    by_label = dict(zip(names, figures["thresholds"], strict=True))
    fitted = {"checkpoint": best, "split": figures["thresholds_split"], "thresholds": by_label}
    write_json(workdir / "thresholds.json", fitted)
    metric = config.checkpoint.metric
    if stalled:
        log.info(
            f"{config.train.stop_after} evaluations without a better {metric}: training ends here"
        )
    worth = (
        f" with {metric} {figures[metric]:.4f}" if metric in figures else ""
    )  # an older version had fewer figures
    log.info(f"finished; the best checkpoint is step {best}{worth}, in {workdir}")
