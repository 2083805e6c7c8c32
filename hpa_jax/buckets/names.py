"""Names of files in a run's folder: what each of them means for its copy in a bucket."""

import re

STEPS = "checkpoints/"

# Of a run, or of the runs of a sweep.
_OF_STEPS = re.compile(r"(.*/)?checkpoints/.*", re.DOTALL)

# Large, and not needed to know what there is.
_FETCHED_ON_DEMAND = re.compile(r"checkpoints/[^/]+/state/.+|(.*/)?[^/]+\.tfrecord-\d+-of-\d+")

# Of no use to others, or not complete: see hpa_jax.files.atomic and training.step_folders.
_LOCAL_ONLY = re.compile(
    r"(.*/)?(\.lock|\.lock\.owner|\.[^/]+\.part|\.probe\.[^/]*)"
    r"|(.*/)?\d+\.(saving|deleting|replaced)[^/]*/.*|(.*/)?\.[^/]+\.part/.*"
)

# They tell that what lies beside them is complete.
_LAST = ("manifest.json", "model.json", "metadata.json", "dataset_info.json")

_NEXT = ".next"


def is_of_steps(name: str) -> bool:
    """Whether a file is one of a checkpoint."""
    return _OF_STEPS.fullmatch(name) is not None


def step_of(name: str) -> str:
    """The folder of the checkpoint that a file of the run lies in; "": it lies in none."""
    folders = name.split("/")[:2]
    return "/".join(folders) if name.startswith(STEPS) else ""


def is_fetched_on_demand(name: str) -> bool:
    """Whether a file is downloaded when somebody asks for it, not before."""
    return _FETCHED_ON_DEMAND.fullmatch(name) is not None


def is_local_only(name: str) -> bool:
    """Whether a file is never uploaded."""
    return _LOCAL_ONLY.fullmatch(name) is not None


def is_last(name: str) -> bool:
    """Whether a file tells that those beside it are complete."""
    return name.rpartition("/")[2] in _LAST


def next_of(name: str) -> str:
    """The object in which a file lies until the one that it replaces counts no more."""
    return f"{name}{_NEXT}"


def is_safe(name: str) -> bool:
    """Whether a name stays within its folder."""
    return not name.startswith("/") and not {"", ".", ".."} & set(name.split("/"))
