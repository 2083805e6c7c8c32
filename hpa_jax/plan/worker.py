"""Compiles one configuration for one slice and says what came of it: the process that children.py starts.

    echo REQUEST | python -m hpa_jax.plan.worker

Request and answers are JSON, one a line: `{"stage": ...}` as the work goes on, at the end `{"row": ...}`,
`{"refused": ...}` (the configuration and the slice do not go together) or `{"failed": ...}` (the compiler's reason). A
process of its own: a compiler that crashes must not take the plan with it, and libtpu wants its environment before JAX
is imported. It ends when its input does, so that it does not outlive who asked.
"""

import json
import os
import sys
import threading
import time


def main() -> int:
    # Answers alone go where answers go; what libraries print joins the errors.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()

    def tell(**answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    if "resolve" in request:
        tell(row=_resolved(request["resolve"]))
        return 0

    from hpa_jax.config import from_dict
    from hpa_jax.errors import InputError

    config = from_dict(request["config"])
    try:
        if request["topology"] == "here":
            from hpa_jax.plan.measure import measured

            tell(row=measured(config, tell))
        else:
            from hpa_jax.plan.estimate import estimated

            tell(
                row=estimated(
                    config,
                    request["topology"],
                    tuple(request["steps"]),
                    tell,
                    explain=not request.get("alone"),
                )
            )
    except InputError as error:
        tell(refused=" ".join(str(error).split()))
    except Exception as error:  # the compiler's or libtpu's
        import traceback

        traceback.print_exc()
        text = " ".join(str(error).split())
        tell(failed=f"{type(error).__name__}: {text[:600]}")
        return 1
    return 0


def _resolved(names: list[str]) -> dict:
    from hpa_jax.plan.topologies import devices_of

    found = {}
    for name in names:
        try:
            devices = devices_of(name)
            found[name] = {"devices": len(devices), "device_kind": devices[0].device_kind}
        except ValueError as error:
            found[name] = {"error": str(error)}
    return found


def _end_with_input() -> None:
    while sys.stdin.readline():
        time.sleep(0.01)
    os._exit(1)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # libtpu's threads may hold the interpreter's end up
