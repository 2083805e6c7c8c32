"""Runs `hpa_jax.main` in this process, which the system stops once its starter has ended.

    python hpa_jax/sweep/launch.py STARTER ARGUMENT..

STARTER is the number of the starting process. However that ends, this one gets SIGTERM, on which
training saves and ends. Only Linux can do that; elsewhere the run trains to its end.

Nothing of the package is imported before: the signal that is asked for may come at once.
"""

import ctypes
import os
import runpy
import signal
import sys

_EXIT_START_AGAIN = 75  # of hpa_jax.errors
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


def end_with(starter: int) -> None:
    """Has this process get SIGTERM when its starter, the process `starter`, has ended."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != starter:
        # It has ended before.
        sys.exit(_EXIT_START_AGAIN)


if __name__ == "__main__":
    end_with(int(sys.argv[1]))
    del sys.argv[1]
    # As of `python -m`: not the folder of this file.
    sys.path[0] = os.getcwd()
    runpy.run_module("hpa_jax.main", run_name="__main__", alter_sys=True)
