"""hpa_jax: train, evaluate and export classifiers of protein localisation.

    python -m hpa_jax.main --config=FILE --workdir=DIR [--mode=MODE]
                           [--config.SECTION.FIELD=VALUE ...]

    --config=FILE   a recipe, such as configs/lowres.py; without it the run in DIR, as it was
                    configured
    --workdir=DIR   the run's folder; a second start with the same folder resumes the run. It may be
                    gs://BUCKET/FOLDER, as may --out and data_dir (docs/buckets.md)
    --out=DIR       where all modes but train put what they write, called DIR below too; without it
                    the workdir. They only read the workdir, also while it trains
    --mode=MODE     train     (the default) train, or resume training
                    evaluate  a checkpoint on config.data.eval_split, to DIR/evaluation.json; or
                              anyone's scores, with --config.evaluate.scores=S.npy
                              --config.evaluate.targets=T.npy and no recipe; or several runs
                              together, with --config.evaluate.runs=RUN1,RUN2,... and DIR a new
                              folder
                    predict   scores and labels of config.data.eval_split, to
                              DIR/predictions.csv; of several runs too; or of a folder of images,
                              config.predict.images
                    segment   the cells in the images of config.data.eval_split, one by one, to
                              DIR/segmentation; of a dataset alone too, no run is needed
                    export    the net for serving, to DIR/export
                    synthesize  a net that has learnt to fill in channels (train.task=channels)
                              makes those that were not imaged, of config.data.eval_split or of a
                              folder, config.predict.images, to DIR/synthesized
                    report    what the run in DIR has learned, to DIR/report.html, beside those
                              that --config.report.compare names; where DIR holds no run, what a
                              dataset looks like
                    probe     how much a frozen embedding knows, by SubCell's protocol, to
                              DIR/probe.json: of the run, of an export, or of anyone's array with
                              --config.probe.embeddings=E.npy --config.probe.targets=T.npy
                    plan      what training needs, compiled for config.plan.topologies without
                              having them: memory, traffic, time per image; to DIR/plan.json
                    sweep     several runs of the recipe, with values from the ranges that its
                              search_space() declares: DIR/trials has the runs, DIR/report.html
                              what was found; a second start resumes it, or helps
                    verify    whether the run or the export in DIR is as it was written: a line
                              for each thing in it, and status 2 where one is damaged

Exit status: 0 finished; 75 stopped after saving, by a signal or since nobody reads its output:
start it again; 2 a wrong call or bad input; 1 the run had to stop itself; 129, 130, 143 another
mode was stopped by SIGHUP, Ctrl-C or SIGTERM. The fields of a configuration, with their defaults:
"""

import sys

from hpa_jax.environment import huge_pages
from hpa_jax.environment.early_signals import (
    STOP_SIGNALS,
    handlers_of_others,
    install_early,
    mode_of,
    stop_training,
)
from hpa_jax.environment.garbage import pause_collection, resume_collection

if __name__ == "__main__":
    # The imports below take a while.
    install_early(sys.argv[1:])
    pause_collection()
    # The other modes compute little, or in processes of their own.
    if mode_of(sys.argv[1:]) in ("train", "evaluate", "predict", "synthesize", "probe"):
        huge_pages.restart("hpa_jax.main")

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

from hpa_jax.buckets import mounts
from hpa_jax.buckets.scratch import remove_scratch_folder
from hpa_jax.config import Config, help_text
from hpa_jax.environment.causes import is_input, reason_and_advice
from hpa_jax.environment.jax_variables import check_devices, check_xla_flags, import_jax
from hpa_jax.environment.program import exit_on_signals, is_ignored, run_program
from hpa_jax.environment.streams import lost_output
from hpa_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_OK,
    EXIT_RUN_STOPPED,
    EXIT_START_AGAIN,
    InputError,
    RunStopped,
)
from hpa_jax.files import check_writable, locked
from hpa_jax.folders.results import refuse_foreign_results
from hpa_jax.recipes.command_line import (
    Call,
    holds_run,
    holds_sweep,
    make_parser,
    parse_call,
    results_in_buckets,
)

_OF_ONE_NET = ("train", "evaluate", "predict", "synthesize")


def main(arguments: Sequence[str]) -> int:
    """Runs a command line and returns its exit status."""
    if threading.current_thread() is not threading.main_thread():
        # Python lets the main thread alone handle signals.
        return _main(arguments, handles_signals=False)
    handlers = handlers_of_others()
    try:
        return _main(arguments, handles_signals=True)
    finally:
        for number, handler in handlers.items():
            # None: set by a library, and not to be had back.
            if handler is not None:
                signal.signal(number, handler)


def _main(arguments: Sequence[str], handles_signals: bool) -> int:
    group = None
    status = EXIT_OK
    why = ""
    try:
        if make_parser().parse_known_args(arguments)[0].help:
            print(f"{__doc__}{help_text()}")
            return EXIT_OK
        call = parse_call(arguments)
        if handles_signals:
            _handle_signals(call.mode)
        if _writes_to_out(call):
            check_writable(call.out, "give --out=DIR, a folder for what this mode writes")
        import_jax()
        check_xla_flags()
        from hpa_jax.parallel import memory
        from hpa_jax.parallel.compile import (
            publish_compiled,
            use_compilation_cache,
            wait_for_busy_cpus,
        )
        from hpa_jax.parallel.join import join_process_group

        traces = use_compilation_cache()
        wait_for_busy_cpus()
        group = join_process_group(call.config.devices, call.mode)
        _use_cpu_cores(call.config, call.mode, group)
        _check_devices(call)
        writes_run = call.mode == "train" and group.is_primary
        if call.mode == "sweep" and mounts.mount_of(call.workdir) is not None:
            # In a bucket its runs have no locks of their own.
            writes_run = True
        lease = call.config.devices.break_lease
        with locked(call.workdir, lease) if writes_run else contextlib.nullcontext():
            with memory.explained(memory.advice(call.config, call.mode)):
                status = _run(call, group, traces)
        if call.mode not in ("train", "sweep"):
            _publish(call)
        publish_compiled()
    except InputError as error:
        _give_way(group, error)
        status = EXIT_BAD_INPUT
        why = f"error: {' '.join(str(error).split())}"
    except OSError as error:
        _give_way(group, error)
        # Nothing that a file system answers is a defect of this program.
        status = EXIT_BAD_INPUT if is_input(error) else EXIT_RUN_STOPPED
        kind = "error" if is_input(error) else "stopped"
        why = f"{kind}: {reason_and_advice(error)}"
    except RunStopped as error:
        _give_way(group, error)
        status = EXIT_RUN_STOPPED
        why = f"stopped: {error}"
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
        why = "stopped by SIGINT (Ctrl-C); the same command starts from what was saved before"
    except BaseException as error:
        _report_defect(group, error)
        raise
    if status == EXIT_START_AGAIN and lost_output():
        # The loop has said so too, but maybe there where nobody reads it.
        print(f"{lost_output()}: saved and stopped; start again to resume", file=sys.stderr)
    if why:
        sys.stdout.flush()
        is_first = group is None or group.is_primary
        print(why if is_first else f"process {group.index}: {why}", file=sys.stderr)
    if group is not None:
        group.leave(status, why)
    return status


def _publish(call: Call) -> None:
    """Uploads what a mode has written, where that is to be in a bucket."""
    for place in (call.out, *results_in_buckets(call.config)):
        mounts.publish(place)


def _writes_to_out(call: Call) -> bool:
    is_export_elsewhere = call.mode == "export" and call.config.export.folder
    return call.mode not in ("train", "sweep", "verify") and not is_export_elsewhere


def _use_cpu_cores(config: Config, mode: str, group) -> None:
    """Makes each core of the CPU a device, where one net works in one process."""
    is_of_one_net = mode in _OF_ONE_NET and not config.evaluate.runs
    if is_of_one_net and group.count == 1:
        from hpa_jax.parallel.compile import use_cpu_cores

        use_cpu_cores(config.data.batch_size, config.devices.space)


def _check_devices(call: Call) -> None:
    """Refuses devices that JAX cannot find, unless the mode needs none in this process."""
    if call.mode in ("plan", "sweep", "verify"):
        return
    check_devices()


def _handle_signals(mode: str) -> None:
    if mode not in ("train", "sweep"):
        if not is_ignored(signal.SIGINT):
            signal.signal(signal.SIGINT, handlers_of_others()[signal.SIGINT])
        exit_on_signals()
        return
    # Until the loop has its own handlers.
    for number in STOP_SIGNALS:
        if not is_ignored(number):
            signal.signal(number, stop_training)


def _results(mode: str, config: Config, workdir: Path) -> list[str]:
    """What a mode writes over, as `hpa_jax.folders.results` names it."""
    if mode == "plan":
        return ["plan.json"]
    if mode == "probe":
        return ["probe.json"]
    if mode == "report":
        has_tables = holds_run(workdir) or holds_sweep(workdir)
        return ["report.html", "report"] if has_tables else ["report.html"]
    if mode == "sweep":
        return ["report.html", "report", "sweep.json"]
    if mode not in ("evaluate", "predict") or config.predict.images:
        return []
    names = ["evaluation.json" if mode == "evaluate" else "predictions.csv"]
    if not config.evaluate.scores:
        names.append("scores")
    # On another split than the runs' own it is read, not written.
    if config.evaluate.runs and config.data.eval_split == Config().data.eval_split:
        names.append("ensemble.json")
    return names


def _run(call: Call, group, traces: Path | None) -> int:
    mode, workdir, config, out, recipe = call
    if mode != "train":
        # Training does so once it has imported the rest.
        resume_collection()
    advice = "move it away or give --out=DIR, another folder"
    if mode == "sweep":
        advice = "move it away or choose another --workdir"
    refuse_foreign_results(out, _results(mode, config, workdir), advice)
    # Imported here: a wrong call should be refused at once, not after seconds of loading.
    if mode == "train":
        from hpa_jax.training.loop import train_loop

        return train_loop(config, workdir, group, traces)
    if mode == "evaluate":
        from hpa_jax.evaluation.evaluate import evaluate_arrays, evaluate_run

        if config.evaluate.scores or config.evaluate.targets:
            evaluate_arrays(config.evaluate, out)
        else:
            evaluate_run(config, workdir, out)
    elif mode == "predict" and config.predict.images:
        from hpa_jax.serving.predict.run_net import predict_folder

        predict_folder(config, workdir, out)
    elif mode == "predict":
        from hpa_jax.evaluation.predict import predict

        predict(config, workdir, out)
    elif mode == "segment":
        from hpa_jax.serving.segment.split import segment_split

        segment_split(config, out)
    elif mode == "synthesize":
        from hpa_jax.serving.synthesize.run import synthesize

        synthesize(config, workdir, out)
    elif mode == "report":
        from hpa_jax.report.write import write_report

        write_report(config, workdir, out)
    elif mode == "probe":
        from hpa_jax.probe.run import probe

        probe(config, workdir, out)
    elif mode == "sweep":
        from hpa_jax.sweep.packages import check_packages

        check_packages()
        from hpa_jax.report.sweep.page import write_sweep_report
        from hpa_jax.sweep.run import sweep

        def show(folder: Path) -> None:
            write_sweep_report(folder, folder)
            mounts.publish(folder)

        return sweep(config, recipe, workdir, show)
    elif mode == "verify":
        import jax

        from hpa_jax.verify.run import verify

        # The run may train meanwhile, on all other devices.
        jax.config.update("jax_platforms", "cpu")
        verify(workdir, seal=config.verify.seal)
    elif mode == "plan":
        from hpa_jax.plan import plan

        plan(config, out)
    else:
        from hpa_jax.serving.export import export

        export(config, workdir, out)
    return EXIT_OK


def _give_way(group, error: BaseException) -> None:
    """Lets the watchdog speak, and end this process, if the error is not this process's own."""
    if group is not None:
        group.give_way(error)


def _report_defect(group, error: BaseException) -> None:
    """Something is wrong in this program, or, with several processes, one of the others is gone."""
    if group is None or group.count == 1:
        return
    _give_way(group, error)
    traceback.print_exc()
    one_line = " ".join(str(error).split())
    group.leave(EXIT_RUN_STOPPED, f"{type(error).__name__}: {one_line[:300]}")


def _main_and_leave(arguments: Sequence[str]) -> int:
    status = main(arguments)
    if status == EXIT_BAD_INPUT:
        # A failed restore leaves threads that print tracebacks while the interpreter ends.
        sys.stdout.flush()
        sys.stderr.flush()
        remove_scratch_folder()
        os._exit(status)
    return status


if __name__ == "__main__":
    run_program(_main_and_leave)
