"""hpa_jax: train, evaluate and hand over classifiers of protein localisation.

    python -m hpa_jax.main --config=FILE --workdir=DIR [--mode=MODE] [--config.SECTION.FIELD=VALUE ...]

    --config=FILE   a recipe, such as configs/lowres.py; without it the run in DIR is gone on with, as it was configured
    --workdir=DIR   the run's folder; a second start with the same folder goes on where the first one stopped
    --mode=MODE     train     (the default) train, or go on training
                    evaluate  a checkpoint on config.data.eval_split, to DIR/evaluation.json; or anyone's scores, with
                              --config.evaluate.scores=S.npy --config.evaluate.targets=T.npy and no recipe; or of
                              several runs together, with --config.evaluate.runs=RUN1,RUN2,... and DIR a new folder
                    predict   scores and labels of config.data.eval_split, to DIR/predictions.csv; of several runs too
                    export    the net for serving, to DIR/export
                    report    what the run in DIR has learnt, to DIR/report.html, beside those that
                              --config.report.compare names; where DIR holds no run, what a dataset looks like
                    plan      what the training needs, compiled for config.plan.topologies without having them: memory,
                              traffic, time an image; to DIR/plan.json

Exit status: 0 finished; 75 stopped by a signal after saving, start it again; 2 a wrong call or bad input; 1 the run had
to stop itself. The fields of a configuration, with their defaults:
"""

import contextlib
import dataclasses
import errno
import importlib.util
import os
import signal
import sys
import traceback
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from hpa_jax.config import Config, check, differences, to_dict
from hpa_jax.errors import (
    EXIT_BAD_INPUT,
    EXIT_OK,
    EXIT_RUN_STOPPED,
    EXIT_START_AGAIN,
    InputError,
    RunStopped,
)
from hpa_jax.files import locked
from hpa_jax.transforms.channel_mix import parse_channel_mix
from hpa_jax.workdir import read_config

MODES = ("train", "evaluate", "predict", "export", "report", "plan")

# What decides how a stored checkpoint is read: another value would give another net, or feed it other numbers.
FIXED_BY_TRAINING = (
    "model.",
    "optim.",
    "train.ema",
    "train.stop_after",
    "data.channel_mix",
    "data.labels",
    "data.mean",
    "data.std",
    "data.shown_",
    "data.image_size",
    "data.fold",  # another one's validation fields are fields that the net learnt from
)
# What a recipe may leave to the data; the run's own values then hold.
RESOLVED = ("mean", "std", "image_size")


def load_recipe(path: str) -> Config:
    """Runs a recipe's `get_config()`. It is a program: never run one that came with a run or from the network.

    Raises:
      InputError: no such file, or it does not give a Config.
    """
    if not Path(path).is_file():
        there = (
            ", ".join(sorted(map(str, Path("configs").glob("*.py")))) or "none below configs/ here"
        )
        raise InputError(f"--config={path}: no such recipe; there are: {there}")
    spec = importlib.util.spec_from_file_location("recipe", path)
    if spec is None:
        raise InputError(f"--config={path}: a recipe is a .py file")
    recipe = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(recipe)
        config = recipe.get_config()
    except Exception as error:
        raise InputError(f"--config={path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise InputError(
            f"--config={path}: get_config() gives a {type(config).__name__}, not a hpa_jax.config.Config"
        )
    return config


def parse(arguments: list[str]) -> tuple[str, Path, Config]:
    """Command line to mode, workdir and checked configuration.

    Raises:
      InputError: names the flag or field that is wrong.
    """
    recipe, rest = _take(arguments, "config")
    mode, rest = _take(rest, "mode")
    workdir, rest = _take(rest, "workdir")
    mode = mode or "train"
    if mode not in MODES:
        raise InputError(f"--mode={mode} is unknown; choose one of {', '.join(MODES)}")
    if not workdir:
        raise InputError("--workdir=DIR is missing: the folder of the run, new or begun")
    workdir = Path(workdir)
    begun = (workdir / "config.json").is_file()
    if recipe:
        config = load_recipe(recipe)
    elif begun:
        config = read_config(workdir)
        config.devices = dataclasses.replace(
            config.devices, processes=0, process=-1, coordinator=""
        )  # of that start
    elif mode in ("evaluate", "report") or any("evaluate.runs" in argument for argument in rest):
        config = (
            Config()
        )  # scores of a file, a dataset, or runs that have recipes of their own need none
    else:
        raise InputError(
            f"--config=FILE is missing, and {workdir} holds no run; try --config=configs/lowres.py"
        )
    config = override(config, rest)
    check(config)
    parse_channel_mix(config.data.channel_mix)
    of_a_dataset = mode == "report" and not begun
    if config.evaluate.runs and mode in ("evaluate", "predict"):
        if recipe:
            raise InputError(
                f"--config={recipe}: the runs of config.evaluate.runs have their own; leave it out"
            )
    elif (
        mode not in ("train", "plan")
        and not of_a_dataset
        and not (config.evaluate.scores or config.evaluate.targets)
    ):
        config = _as_trained(config, read_config(workdir), workdir)
    return mode, workdir, config


def override(config: Config, arguments: list[str]) -> Config:
    """Applies `--config.SECTION.FIELD=VALUE` flags, typed by ml_collections.

    Raises:
      InputError: an unknown field, a value of the wrong type, or an argument that is no such flag.
    """
    values = flags.FlagValues()
    try:
        holder = config_flags.DEFINE_config_dataclass(
            "config", config, flag_values=values, sys_argv=["", *arguments]
        )
        extra = values(["", *arguments])[1:]
    except (flags.Error, KeyError, ValueError, TypeError, AttributeError) as error:
        text = " ".join(
            str(error.args[0] if isinstance(error, KeyError) and error.args else error).split()
        )
        raise InputError(f"{text}; --help lists the fields") from error
    if extra:
        raise InputError(
            f"{extra[0]!r} is no flag; fields are set with --config.SECTION.FIELD=VALUE"
        )
    return holder.value


def _take(arguments: list[str], name: str) -> tuple[str | None, list[str]]:
    """The value of `--name=VALUE` or `--name VALUE` (the last one given), and the other arguments."""
    value, rest, position = None, [], 0
    while position < len(arguments):
        argument = arguments[position]
        flag = argument.removeprefix("-").removeprefix("-") if argument.startswith("-") else ""
        if flag == name and position + 1 < len(arguments):
            value, position = arguments[position + 1], position + 1
        elif flag.startswith(f"{name}="):
            value = flag.removeprefix(f"{name}=")
        else:
            rest.append(argument)
        position += 1
    return value, rest


def _as_trained(config: Config, trained: Config, workdir: Path) -> Config:
    for name in RESOLVED:
        if not getattr(config.data, name):
            setattr(config.data, name, getattr(trained.data, name))
    for name, (before, now) in differences(trained, config).items():
        if (
            name.startswith(FIXED_BY_TRAINING) and name != "model.block"
        ):  # the same net, computed in another way
            raise InputError(
                f"{workdir} was trained with config.{name}={before!r}, not {now!r}; leave that as it was"
            )
    config.data.sources = trained.data.sources or (
        trained.data.name,
    )  # whose figures mean and std are
    return config


def _help() -> str:
    lines = [
        f"  --config.{s}.{name}={value!r}"
        for s, f in to_dict(Config()).items()
        for name, value in f.items()
    ]
    return (
        __doc__
        + "\n"
        + "\n".join(lines)
        + "\n\nhpa_jax/config.py says what each means, with its unit.\n"
    )


def _stopped_early(number: int, frame) -> None:
    os.write(1, b"stopped by SIGTERM before there was anything to save; the same command begins\n")
    os._exit(
        EXIT_START_AGAIN
    )  # SystemExit would be swallowed where the signal falls into a callback of the interpreter


def _run(mode: str, workdir: Path, config: Config, peers) -> int:
    # Imported here: a wrong call should be told at once, not after seconds of loading.
    if mode == "train":
        from hpa_jax.training.loop import train

        return train(config, workdir, peers)
    if mode == "evaluate":
        from hpa_jax.evaluation.evaluate import evaluate_arrays, evaluate_run

        if config.evaluate.scores or config.evaluate.targets:
            evaluate_arrays(config.evaluate, workdir)
        else:
            evaluate_run(config, workdir)
    elif mode == "predict":
        from hpa_jax.evaluation.predict import predict

        predict(config, workdir)
    elif mode == "report":
        from hpa_jax.report.write import write_report

        write_report(config, workdir)
    elif mode == "plan":
        from hpa_jax.plan import plan

        plan(config, workdir)
    else:
        from hpa_jax.serving.export import export

        export(config, workdir)
    return EXIT_OK


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, in JAX_COMPILATION_CACHE_DIR or the user's cache folder."""
    import jax

    if not jax.config.jax_compilation_cache_dir:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(home) / "hpa_jax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def main(arguments: list[str]) -> int:
    """Runs a command line and returns its exit status."""
    if {"-h", "--help", "-help"} & set(arguments):
        print(_help())
        return EXIT_OK
    peers, why = None, ""
    try:
        mode, workdir, config = parse(arguments)
        use_compilation_cache()
        if mode == "train":
            signal.signal(
                signal.SIGTERM, _stopped_early
            )  # the loop has its own handler once it is there
        from hpa_jax.parallel.process_group import join_process_group

        peers = join_process_group(config.devices, mode)
        if (
            peers.count == 1
            and mode in ("train", "evaluate", "predict")
            and not config.evaluate.runs
        ):
            from hpa_jax.parallel.compile import use_cpu_cores

            use_cpu_cores(config.data.batch_size, config.devices.space)
        with locked(workdir) if peers.is_primary else contextlib.nullcontext():
            status = _run(mode, workdir, config, peers)
    except InputError as error:
        status, why = EXIT_BAD_INPUT, f"error: {' '.join(str(error).split())}"
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            _defect(peers, error)
            raise
        where = f" (writing {error.filename})" if error.filename else ""
        status, why = (
            EXIT_RUN_STOPPED,
            f"stopped: no space left on the device{where}; free some and start again",
        )
    except RunStopped as error:
        status, why = EXIT_RUN_STOPPED, f"stopped: {error}"
    except BaseException as error:
        _defect(peers, error)
        raise
    if why:
        sys.stdout.flush()
        print(
            why if peers is None or peers.is_primary else f"process {peers.index}: {why}",
            file=sys.stderr,
        )
    if peers is not None:
        peers.leave(status, why)
    return status


def _defect(peers, error: BaseException) -> None:
    """Something is wrong in this program, or, with several processes, one of the others is gone."""
    if peers is None or peers.count == 1:
        return
    if isinstance(error, RuntimeError):  # as JAX raises where a connection breaks
        peers.wait_for_verdict()
    traceback.print_exc()
    peers.leave(EXIT_RUN_STOPPED, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


if __name__ == "__main__":
    exit_status = main(sys.argv[1:])
    if exit_status == EXIT_BAD_INPUT:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(
            exit_status
        )  # a failed restore leaves threads that print tracebacks while the interpreter ends
    sys.exit(exit_status)
