"""Compiles one configuration for one topology: the process that compiler.py starts.

    echo REQUEST | python -m hpa_jax.plan.worker

Request and answers are JSON, one object a line: `{"stage": ...}` while the work goes on, then one
of `{"row": ...}`, `{"refused": ...}` (the configuration and the devices do not go together) and
`{"failed": ...}` (the compiler's reason).

A process of its own, because a compiler that crashes must not take the plan with it, and because
libtpu wants its environment variables before JAX is imported. It ends when its input closes, so
that it does not outlive the plan.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable


def main() -> int:
    """Reads one request from standard input; returns the exit status."""
    # Standard output is for answers; whatever libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()

    def answer(**content) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    if "resolve" in request:
        answer(row=_resolve(request["resolve"]))
        return 0

    from hpa_jax.errors import InputError

    try:
        answer(row=_make_row(request, answer))
    except InputError as error:
        answer(refused=" ".join(str(error).split()))
    except Exception as error:  # whatever the compiler or libtpu finds wrong
        traceback.print_exc()
        text = " ".join(str(error).split())
        answer(failed=f"{type(error).__name__}: {text[:600]}")
        return 1
    return 0


def _make_row(request: dict, report: Callable) -> dict:
    from hpa_jax.config import from_dict
    from hpa_jax.plan.topologies import HERE

    config = from_dict(request["config"])
    if request["topology"] == HERE:
        from hpa_jax.plan.measure import measure

        return measure(config, report)

    from hpa_jax.plan.estimate import estimate

    explain = not request.get("search", False)
    return estimate(config, request["topology"], tuple(request["steps"]), report, explain)


def _resolve(names: list[str]) -> dict:
    from hpa_jax.plan.topologies import devices_of

    found = {}
    for name in names:
        try:
            devices = devices_of(name)
        except ValueError as error:
            found[name] = {"error": str(error)}
        else:
            found[name] = {"devices": len(devices), "device_kind": devices[0].device_kind}
    return found


def _end_with_input() -> None:
    while sys.stdin.readline():
        time.sleep(0.01)
    os._exit(1)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # threads of libtpu may keep the interpreter from ending
