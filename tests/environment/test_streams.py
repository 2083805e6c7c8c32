"""What a program prints where nobody reads it, and where the encoding has no such characters."""

import os
import pty
import subprocess

from environment import programs

PRINTS = """
heard = []
when_output_is_lost(heard.append)
for number in range(100):
    print(number, flush=True)
    time.sleep(0.01)
print("the rest", heard, lost_output(), file=sys.stderr)
"""


def test_a_reader_that_ends_ends_the_printing_and_not_the_program():
    pipe = subprocess.Popen(
        programs.command(PRINTS),
        env=programs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert pipe.stdout.readline() == "0\n"
    pipe.stdout.close()
    err = pipe.stderr.read()
    assert pipe.wait() == 0
    why = "stdout was closed (Broken pipe)"
    assert err == f"the rest ['{why}'] {why}\n"


def test_what_is_printed_at_the_very_end_is_lost_in_silence():
    pipe = subprocess.Popen(
        programs.command("sys.stdin.readline()\nprint('late')"),
        env=programs.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    pipe.stdout.close()
    pipe.stdin.write(b"\n")
    pipe.stdin.close()
    assert pipe.stderr.read() == b"" and pipe.wait() == 0


def test_stderr_may_go_too():
    body = PRINTS.replace("print(number,", "print(number, file=sys.stderr,")
    body += "\nopen(1, 'w', closefd=False).write(lost_output())"
    pipe = subprocess.Popen(
        programs.command(body),
        env=programs.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pipe.stderr.readline()
    pipe.stderr.close()
    assert pipe.stdout.read() == "stderr was closed (Broken pipe)"
    assert pipe.wait() == 0


def test_a_full_disk_is_not_called_a_closed_pipe():
    with open("/dev/full", "w") as full:
        found = programs.run(PRINTS, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert found.returncode == 0
    assert "stdout cannot be written (No space left on device)" in found.stderr


def test_a_terminal_that_is_gone_is_survived():
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        programs.command(PRINTS),
        env=programs.environment(),
        stdout=terminal,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(terminal)
    assert os.read(leader, 1) == b"0"
    os.close(leader)
    assert "stdout cannot be written (Input/output error)" in process.stderr.read()
    assert process.wait() == 0


def test_streams_that_were_closed_at_the_start_give_their_numbers_to_no_file(tmp_path):
    body = """
    with open("kept", "w") as file:
        print("lost")
        print("lost too", file=sys.stderr)
        os.write(1, b"by a library")
        os.write(2, b"by a library")
        file.write(str(file.fileno() > 2))
    """
    shell = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash"]
    body = "\n".join(line[4:] for line in body.strip("\n").splitlines())
    subprocess.run(
        [*shell, *programs.command(body)], env=programs.environment(), cwd=tmp_path, check=True
    )
    assert (tmp_path / "kept").read_text() == "True"


def test_characters_that_the_terminal_lacks_are_escaped():
    body = "print('Zellkern \\u00e4 \\u0394'); print('\\udcff', file=sys.stderr)"
    found = programs.run(body, env=programs.environment(PYTHONIOENCODING="ascii"))
    assert found.returncode == 0
    assert found.stdout == "Zellkern \\xe4 \\u0394\n" and found.stderr == "\\udcff\n"


def test_lines_are_printed_at_once_where_python_is_told_not_to_buffer():
    # The end without flushing stands for hours of training.
    body = "print('early'); print('too', file=sys.stderr); os._exit(0)"
    found = programs.run(body, env=programs.environment(PYTHONUNBUFFERED="1"))
    assert (found.stdout, found.stderr) == ("early\n", "too\n")
