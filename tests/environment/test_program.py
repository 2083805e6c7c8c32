"""How programs end: by a signal, in a folder that is gone, on an error of the file system."""

import signal
import subprocess

import pytest
from environment import programs

WAITS = """
exit_on_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("tidied up", flush=True)
"""


def stopped(number: int, *, prefix: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """The status of a waiting program after a signal, what it printed then, and its stderr."""
    process = subprocess.Popen(
        [*prefix, *programs.command(WAITS)],
        env=programs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    if prefix:
        # The signal was ignored.
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.mark.parametrize(
    "number, status, line",
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM\n"),
        (signal.SIGHUP, 129, "stopped by SIGHUP\n"),
        (signal.SIGINT, 130, "stopped by SIGINT (Ctrl-C)\n"),
    ],
)
def test_a_signal_ends_a_program_in_one_line_after_it_has_tidied_up(number, status, line):
    assert stopped(number) == (status, "tidied up\n", line)


def test_nohup_is_obeyed():
    nohup = ("bash", "-c", 'trap "" HUP; exec "$@"', "bash")
    status, _, err = stopped(signal.SIGHUP, prefix=nohup)
    assert (status, err) == (143, "stopped by SIGTERM\n")


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    shell = ["bash", "-c", 'rmdir "$PWD"; exec "$@"', "bash"]
    found = subprocess.run(
        [*shell, *programs.command("print('here')")],
        env=programs.environment(),
        cwd=gone,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2 and found.stdout == ""
    assert found.stderr.startswith("error: the current folder is gone; ")


@pytest.mark.parametrize(
    "body, status, line",
    [
        ("open('no/such')", 2, "error: No such file or directory (no/such); check the path\n"),
        ("open('/')", 2, "error: Is a directory (/); check the path: it is a folder\n"),
        (
            "print('x', file=open('/dev/full', 'w'), flush=True)",
            1,
            "stopped: No space left on device; free some",
        ),
        ("raise OSError('odd')", 1, "stopped: odd; put that right and start again\n"),
    ],
)
def test_errors_of_the_file_system_are_one_line(body, status, line):
    found = programs.run(body)
    assert found.returncode == status
    assert found.stderr.startswith(line) and len(found.stderr.splitlines()) == 1


def test_a_defect_keeps_its_traceback():
    found = programs.run("1 / 0")
    assert found.returncode == 1 and "ZeroDivisionError" in found.stderr
