"""What a run does with its folder in a bucket, without a net: steps of three small files."""

import json
import os
import shutil

BUCKET = "bucket"
MANIFEST = "manifest.json"


class Killed(BaseException):
    """Ends a process as if it was killed."""


def contents(gcs, prefix="run"):
    """What the bucket says that counts in a folder."""
    return json.loads(gcs.get(BUCKET, f"{prefix}/contents.json"))


def save_step(mount, step, text="array"):
    """As `Checkpoints` does: complete, and then of its name."""
    staging = mount.folder / "checkpoints" / f"{step}.saving"
    (staging / "state" / "d").mkdir(parents=True)
    (staging / "state" / "d" / f"{text} {step}").write_text(text)
    (staging / "state" / "index").write_text(f"{text} {step}")
    (staging / MANIFEST).write_text(f"{text} of {step}")
    final = staging.with_name(str(step))
    shutil.rmtree(final, ignore_errors=True)
    staging.rename(final)


def step_files(mount, step):
    """The files of a step, with their texts."""
    folder = mount.folder / "checkpoints" / str(step)
    mount.fetch(folder)
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_text()
    return found


def files_of(step, text="array"):
    """What `step_files` finds where `save_step` was."""
    return {
        f"state/d/{text} {step}": text,
        "state/index": f"{text} {step}",
        MANIFEST: f"{text} of {step}",
    }


def steps(mount):
    """The names of the folders of checkpoints."""
    folder = mount.folder / "checkpoints"
    return sorted(os.listdir(folder)) if folder.exists() else []
