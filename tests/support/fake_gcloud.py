"""A stand-in for gcloud with one TPU slice behind it; tests/launch puts it first on PATH.

It keeps a state machine of the slice in $FAKE_CLOUD, writes down every call as NUL-separated words,
and runs what comes by ssh and scp for real: one home folder a worker, `bash -c` in place of the
remote shell. A queued resource goes one state further each time that it is described. What goes
wrong is listed in $FAKE_CLOUD/plan.json:

  workers            how many there are (1)
  create_errors      list of texts: so many creations fail, with these words
  preempt_at_poll    the slice is taken away at this poll, counted over all slices
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

CLOUD = Path(os.environ["FAKE_CLOUD"])
WORKERS = CLOUD / "workers"
NOT_FOUND = "ERROR: (gcloud.compute.tpus.describe) NOT_FOUND: Resource was not found"
QUEUE = ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]


def get(name, default):
    path = CLOUD / name
    return json.loads(path.read_text()) if path.exists() else default


def put(name, value):
    (CLOUD / name).write_text(json.dumps(value))


def fail(text, status=1):
    print(text, file=sys.stderr)
    sys.exit(status)


def kill_runs():
    for name in ("supervisor", "child"):
        for path in WORKERS.glob(f"*/.hpa_jax_run/{name}"):
            try:
                os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
            except (ProcessLookupError, ValueError, IndexError):
                pass


def boot():
    """New machines: homes with nothing but a .venv whose Python writes down what pip is asked."""
    kill_runs()
    shutil.rmtree(WORKERS, ignore_errors=True)
    for worker in range(get("plan.json", {}).get("workers", 1)):
        python = WORKERS / str(worker) / "hpa_jax/.venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\necho "$*" >>"$HOME/pip"\n')
        python.chmod(0o755)
    put("node", "READY")


def create(kind):
    errors = get("create_errors", get("plan.json", {}).get("create_errors", []))
    if errors:
        put("create_errors", errors[1:])
        fail(errors[0])
    if kind == "queued-resources":
        put("queue", QUEUE)
    else:
        boot()


def describe(kind):
    if kind == "queued-resources":
        states = get("queue", None)
        if not states:
            fail(NOT_FOUND)
        if states[0] == "ACTIVE" and get("node", None) is None:
            boot()
        print(states[0])
        put("queue", states[1:] or states)
    else:
        print(get("node", None) or fail(NOT_FOUND))


def delete(kind):
    kill_runs()
    put("node", None)
    if kind == "queued-resources":
        put("queue", None)


def preempted_now(command):
    if not command.endswith(" poll"):
        return False
    polls = get("polls", 0) + 1
    put("polls", polls)
    return polls == get("plan.json", {}).get("preempt_at_poll")


def ssh(words, flags):
    if get("node", None) != "READY":
        fail("ERROR: the TPU VM is not usable", 1)
    if preempted_now(flags["command"]):
        kill_runs()
        put("node", "PREEMPTED")
        if get("queue", None):
            put("queue", ["SUSPENDING", "SUSPENDED"])
        fail("ssh: connection reset", 255)
    print("SSH: Attempting to connect to worker 0...", file=sys.stderr)
    statuses = []
    for home in sorted(WORKERS.iterdir()):
        if flags["worker"] in ("all", home.name):
            env = {**os.environ, "HOME": str(home)}
            statuses.append(
                subprocess.run(["bash", "-c", flags["command"]], env=env, cwd=home).returncode
            )
    sys.exit(next((status for status in statuses if status), 0))


def scp(words, flags):
    if get("node", None) != "READY":
        fail("ERROR: the TPU VM is not usable", 1)
    *sources, destination = words
    assert destination.endswith(":") and flags["worker"] == "all"
    for home in WORKERS.iterdir():
        for source in sources:
            shutil.copy(source, home)


def main(argv):
    with open(CLOUD / "calls", "ab") as calls:
        calls.write("\0".join(argv).encode() + b"\0\0\n")
    assert argv[:2] == ["compute", "tpus"], argv
    kind, verb, *rest = argv[2:]
    words = [word for word in rest if not word.startswith("--")]
    flags = dict(word[2:].partition("=")[::2] for word in rest if word.startswith("--"))
    assert flags["project"] and flags["zone"], argv
    if verb in ("ssh", "scp"):
        {"ssh": ssh, "scp": scp}[verb](words, flags)
    else:
        {"create": create, "describe": describe, "delete": delete}[verb](kind)


main(sys.argv[1:])
