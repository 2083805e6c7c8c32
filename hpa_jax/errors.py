"""How a program of this project ends: its exit statuses, and the errors raised on purpose.

| status | name | meaning | what to do |
| --- | --- | --- | --- |
| 0 | `EXIT_OK` | finished | nothing |
| 1 | `EXIT_RUN_STOPPED` | the run had to stop itself: `RunStopped` | read the line; see below |
| 2 | `EXIT_BAD_INPUT` | a wrong call or bad input: `InputError` | change what the line names |
| 75 | `EXIT_START_AGAIN` | stopped after saving, by a signal | start the same command again |

Status 1 has causes such as a loss that is not finite, a process of the group that died or hung, a
full disk, or a host that cannot be reached. The same command resumes from the last checkpoint, but
the cause has to be removed first.

Output that nobody reads any more counts as a signal.

Statuses 1, 2 and 75 come with one line on stderr. 75 is EX_TEMPFAIL of sysexits.h, which job
schedulers take for "try again". Any other status is a defect and keeps its traceback: Python's own
is 1 as well, and there the traceback is what tells the two apart. A process that a signal killed
ends with 128 + the signal's number in a shell (137: SIGKILL, often for want of memory).
"""

import errno

EXIT_OK = 0
EXIT_RUN_STOPPED = 1
EXIT_BAD_INPUT = 2
EXIT_START_AGAIN = 75


NOT_FINITE = "the loss or its gradient was not finite"
"""Begins the text of the `RunStopped` that a run's own settings may cause: a sweep goes on."""


class _Printable(Exception):
    """Its text is safe to print, whatever names a file or a host gave it."""

    def __str__(self) -> str:
        return printable(super().__str__())


class InputError(_Printable):
    """Something that the user can put right. Its text is one line: what, where, what to do."""


class RunStopped(_Printable):
    """The run stopped itself. Its text is one line: the cause, the step, where it can resume."""


def is_out_of_space(error: BaseException) -> bool:
    """Whether an error, or one that it was raised from, says that a disk or a quota is full.

    Some libraries have the system's words in an exception of their own, without the number.
    """
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(error)
        if any(words in text for words in _OUT_OF_SPACE):
            return True
        error = error.__cause__
    return False


_OUT_OF_SPACE = ("No space left on device", "Disk quota exceeded")


def printable(text: str) -> str:
    """The text with "?" for what cannot be printed, line ends and terminal escapes among them."""
    return "".join(char if char.isprintable() else "?" for char in text)


def one_line(error: BaseException | str, limit: int | None = None) -> str:
    """The text of an error on one line that is safe to print.

    Args:
      error: an exception, or its text. An `OSError` is reduced to the system's reason ("No such
        file or directory"), since the messages here name the path themselves; an exception
        without a text becomes the name of its type.
      limit: longest length in characters; a longer text is cut and ends in "...". None: no limit.

    Returns:
      The text with each run of white space as one space, and "?" for what cannot be printed: hosts
      and libraries choose their own words, terminal escapes among them.
    """
    text = getattr(error, "strerror", None) or str(error)
    words = " ".join(text.split())
    if not words and isinstance(error, BaseException):
        words = type(error).__name__
    line = printable(words)
    if limit is None or len(line) <= limit:
        return line
    return line[: limit - 3].rstrip() + "..."
