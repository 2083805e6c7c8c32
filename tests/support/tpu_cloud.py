"""launch/tpu_vm.sh against a stand-in for gcloud, which runs the workers' side for real."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = "launch/tpu_vm.sh"
PLACE = ["--name=hpa", "--project=my-project", "--zone=us-west4-a"]
SLICE = [*PLACE, "--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite"]
CHANGES = ("create", "delete", "install", "start", "stop", "kill")
"""The verbs of calls that change something."""


class Cloud:
    """The state of the stand-in (fake_gcloud.py), and ways to call the script against it.

    Attributes:
      folder: of the state; `workers/N` is the home folder of a worker.
      env: environment of the script.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "cloud"
        self.folder.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        python = shlex.quote(sys.executable)
        fake = shlex.quote(str(ROOT / "tests/support/fake_gcloud.py"))
        gcloud = programs / "gcloud"
        gcloud.write_text(f'#!/bin/sh\nexec {python} -I -S {fake} "$@"\n')
        gcloud.chmod(0o755)
        folders = [str(programs), os.path.dirname(sys.executable), os.environ["PATH"]]
        self.env = os.environ | {
            "PATH": os.pathsep.join(folders),
            "FAKE_CLOUD": str(self.folder),
            "HOME": str(folder),
        }
        self.plan()

    def plan(self, **plan) -> None:
        """What is to go wrong; see fake_gcloud.py."""
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def start(self, *words: str) -> subprocess.Popen:
        """Starts the script.

        In a session of its own, so that Ctrl-C can be sent to it and all that it has started.
        """
        return subprocess.Popen(
            ["bash", SCRIPT, *words],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess:
        """Calls the script."""
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def run(self, *words: str) -> subprocess.CompletedProcess:
        """Runs a command on the slice, without pauses."""
        return self.call(*SLICE, "--poll-seconds=0", *words)

    def calls(self) -> list[list[str]]:
        """The words of every call of gcloud so far."""
        path = self.folder / "calls"
        if not path.exists():
            return []
        records = path.read_bytes().split(b"\0\0\n")[:-1]
        return [[word.decode() for word in record.split(b"\0")] for record in records]

    def did(self, *verbs: str) -> list[str]:
        """The verbs of the calls so far that are among these (default: CHANGES), in order."""
        found = []
        for _, _, _, verb, *rest in self.calls():
            if verb == "ssh":
                verb = next(word for word in rest if word.startswith("--command=")).split()[2]
            if verb in (verbs or CHANGES):
                found.append(verb)
        return found

    def wait_for(self, happened) -> None:
        deadline = time.monotonic() + 120
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def kill_workers(self) -> None:
        """What the workers still run."""
        for path in self.folder.glob("workers/*/.hpa_jax_run/*"):
            if path.name in ("supervisor", "child"):
                try:
                    os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
                except ProcessLookupError:
                    pass
