"""The training loop. Its order is a contract: evaluate, save, step, log.

The state is evaluated before the step and saved before the data advances, so that a checkpoint
holds exactly what the loop had when it wrote it, and the run that resumes from it does just
what the one that was not stopped would have done. This order is guaranteed here and nowhere
else; what each of the four does is in `run.py`, and the parts that they use are in
`experiment.py`.

The host waits for the devices at log lines, evaluations and saves only.
"""

import contextlib
import dataclasses
from pathlib import Path

import jax

from hpa_jax.config import Config, check, expand_paths
from hpa_jax.data import pipeline
from hpa_jax.environment.garbage import resume_collection
from hpa_jax.environment.paths import local_path
from hpa_jax.files import locked
from hpa_jax.parallel.preemption import PreemptionSignal
from hpa_jax.parallel.process_group import SINGLE_PROCESS, ProcessGroup, SingleProcess
from hpa_jax.parallel.shared_folder import check_shared_folder
from hpa_jax.tracking.tracker import check_tracker
from hpa_jax.training.experiment import Experiment
from hpa_jax.training.run import Run
from hpa_jax.workdir import read_record, with_aspect_of_run, with_parts_of_run


def train(config: Config, workdir: str | Path) -> int:
    """Trains in this process, or resumes the run in `workdir`.

    Args:
      config: of the run; it is not changed.
      workdir: the run's folder, which no other process may use meanwhile.

    Returns:
      EXIT_OK (0) when finished; EXIT_START_AGAIN (75) when a signal asked the run to stop and
      it has saved: the same call resumes it.

    Raises:
      InputError: what is configured cannot be done.
      RunStopped: the run had to stop itself, for a loss that is not finite or a full disk.
    """
    config = expand_paths(config)
    check(config)
    workdir = local_path(workdir, "workdir")
    with locked(workdir, config.devices.break_lease):
        return train_loop(config, workdir)


def train_loop(
    config: Config,
    workdir: Path,
    group: SingleProcess | ProcessGroup = SINGLE_PROCESS,
    traces: Path | None = None,
) -> int:
    """`train`, in each process of a run; the caller has checked `config` and locked `workdir`.

    Args:
      config, workdir: as for `train`.
      group: the processes of the run. The first one writes what they do not save together.
      traces: folder where traced steps are kept between starts; None: they are not.
    """
    with contextlib.ExitStack() as on_exit:
        # Before anything else: a signal that comes while the net is built is obeyed as well.
        preemption = PreemptionSignal(group)
        on_exit.callback(preemption.restore_handlers)
        check_tracker(config.train.tracker)
        check_shared_folder(group, workdir, config.devices.timeout_s)
        config = with_aspect_of_run(_with_recorded_versions(config, workdir), workdir)
        config = with_parts_of_run(config, workdir)
        experiment = Experiment(config, group)
        resume_collection()
        run = on_exit.enter_context(Run(experiment, workdir, group, preemption, traces))
        state, step = run.restore_or_init()
        while True:
            run.mark_progress(step)
            state, metrics = run.maybe_evaluate(state, step)
            run.maybe_save(state, step, metrics)
            if run.is_over(step):
                return run.finish(step)
            run.prepare_step(state, step)
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                batch = run.next_batch(step)  # only now: its position is in the checkpoint
                state, step_metrics = run.train_step(state, batch)
            step += 1
            run.maybe_log(state, step, step_metrics)


def _with_recorded_versions(config: Config, workdir: Path) -> Config:
    """The configuration with the versions of the datasets that a run to be resumed has used."""
    if not (workdir / "config.json").exists():
        return config
    record = read_record(workdir)
    data = pipeline.choose_versions(config.data, record.datasets, record.images)
    return dataclasses.replace(config, data=data)
