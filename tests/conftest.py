"""Eight virtual CPU devices, so that sharded code runs sharded; a small dataset; runs."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Steps this small are no faster with them, and a program would start itself a second time.
os.environ.setdefault("HPA_HUGE_PAGES", "0")

import jax
import pytest
from support.browser import find_browser, tab
from support.shared import SHARED, session_folder

from hpa_jax.parallel.compile import wait_for_busy_cpus

# As the program does, which sees only the variable.
wait_for_busy_cpus()
jax.config.update("jax_num_cpu_devices", 8)

# A shell starts background jobs with Ctrl-C ignored, nohup ignores SIGHUP, and what a test starts
# would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

REPOSITORY = Path(__file__).resolve().parents[1]
RECORDED_RUN = REPOSITORY / "tests" / "support" / "recorded_run.py"


@pytest.fixture(scope="session", autouse=True)
def shared_folder(tmp_path_factory):
    """What all workers of this session share lies here."""
    SHARED.folder = session_folder(tmp_path_factory)
    return SHARED.folder


@pytest.fixture(scope="session")
def compilation_cache(shared_folder):
    """Compiled programs that runs of this session share."""
    folder = shared_folder / "xla"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def compiled_once(compilation_cache):
    """For tests that build the same net anew again and again."""
    settings = {
        "jax_compilation_cache_dir": str(compilation_cache),
        "jax_disable_most_optimizations": True,
    }
    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def small_data(shared_folder):
    """A data_dir with `synthetic_32`: 80 synthetic images of 32 px, 54 to train on."""

    def make(data_dir):
        from tfds_builder.hpa.__main__ import main

        flags = ["--config=synthetic", "--size=32", "--images=80", "--workers=1"]
        assert main([*flags, f"--data_dir={data_dir}"]) == 0

    return SHARED.made_once("small_data", make)


def starter(compilation_cache, *program, **more_environment):
    """Starts a program of Python with arguments as a process of its own, on one CPU device."""

    def start(*arguments) -> subprocess.Popen:
        environment = os.environ | {
            **more_environment,
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(compilation_cache),
        }
        environment.setdefault("JAX_NUM_CPU_DEVICES", "1")
        command = [sys.executable, *program, *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


def runner(start):
    """Runs what `start` starts to its end: a CompletedProcess."""

    def run(*arguments) -> subprocess.CompletedProcess:
        process = start(*arguments)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def start(compilation_cache):
    """Starts `python -m hpa_jax.main ARGUMENTS`."""
    return starter(compilation_cache, "-m", "hpa_jax.main")


@pytest.fixture(scope="session")
def run(compilation_cache):
    """Runs `python -m hpa_jax.main ARGUMENTS` to its end."""
    return runner(starter(compilation_cache, "-m", "hpa_jax.main"))


@pytest.fixture(scope="session")
def run_quickly(compilation_cache):
    """`run`, of runs of a few steps, which spend their time on compiling."""
    unoptimized = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return runner(starter(compilation_cache, "-m", "hpa_jax.main", **unoptimized))


@pytest.fixture(scope="session")
def start_recorded(compilation_cache):
    """`start`, of runs that also write the Ids of their batches (support/recorded_run.py).

    Each step takes a while, so that a run is not over before the signal that a test sends.
    """
    return starter(compilation_cache, RECORDED_RUN, SECONDS_A_STEP="0.1")


@pytest.fixture(scope="session")
def run_recorded(compilation_cache):
    """`run`, of runs that also write the Ids of their batches."""
    return runner(starter(compilation_cache, RECORDED_RUN))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A tab of a real browser."""
    path = find_browser()
    if path is None and "HPA_BROWSER" not in os.environ:
        pytest.skip("no browser (chromium) is installed, and HPA_BROWSER names none")
    assert shutil.which(path), f"HPA_BROWSER={path}: no such program; install it"
    with tab(path, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def small_run(small_data):
    """Flags of a run that takes seconds: the tiny net on `synthetic_32`.

    With a constant learning rate the compiled step is the same for any number of steps.
    """
    return (
        "--config=configs/quickstart.py",
        f"--config.data.data_dir={small_data}",
        "--config.data.name=synthetic_32",
        "--config.data.batch_size=8",
        "--config.model.name=densenet_tiny",
        "--config.model.dropout=0.3",
        "--config.optim.schedule=constant",
    )
