"""The two ways in which a program of this project stops on purpose, and their exit statuses.

Anything else that escapes is a defect and keeps its traceback.
"""

EXIT_OK = 0
EXIT_RUN_STOPPED = 1  # the run had to stop itself: a loss that is not finite, a dead peer
EXIT_BAD_INPUT = 2  # a wrong call or bad input: one line says what, where, and what to do
EXIT_START_AGAIN = 75  # stopped by SIGTERM after saving (EX_TEMPFAIL of sysexits.h)


class InputError(Exception):
    """Something that the user can put right. Its text is one line: what, where, what to do."""


class RunStopped(Exception):
    """The run stopped itself; its text is one line that names the step and what is left to go on from."""
