"""The sections of devices, of plans for devices that are not there, and of many runs."""

import re
from dataclasses import dataclass

from hpa_jax.config.setting import setting
from hpa_jax.deprecations import accept_old_names


def _is_address(text: str) -> bool:
    return re.fullmatch(r"(\S+:\d+)?", text) is not None


@dataclass(slots=True)
class Devices:
    """The devices and processes of a run. What is learned does not depend on them."""

    space: int = setting(
        0,
        "devices over which the height of each image is sharded; 0: as few as the batch needs",
        at_least=0,
    )
    processes: int = setting(
        0, "of the run; 0: as the cluster says (Cloud TPU, Slurm, ...), or one", at_least=0
    )
    process: int = setting(-1, "index of this process, from 0; -1: as the cluster says")
    coordinator: str = setting(
        "",
        "HOST:PORT of process 0; '': as the cluster says",
        accepts=_is_address,
        allowed="HOST:PORT",
    )
    timeout_s: int = setting(
        300,
        "seconds without progress of a process after which the run ends and names it",
        at_least=10,
    )
    break_lease: str = setting(
        "",
        "name of the lease of another process on a --workdir in a bucket, which is taken over "
        "without waiting; '': none is",
    )


@accept_old_names("plan")
@dataclass(slots=True)
class Plan:
    """What --mode=plan compiles."""

    topologies: str = setting(
        "v5e:2x4",
        "TPU slices (v5e:2x4) and GPUs (h100:8) to compile for, separated by commas; here: the "
        "devices at hand, measured",
    )
    search: bool = setting(False, "also find the largest batch that fits (powers of two)")
    images: int = setting(
        0,
        "in an epoch; 0: those of data.train_split, or the challenge's 31,072 if it is not built",
        at_least=0,
    )
    effort: float = setting(
        -1.0,
        "of the compiler: -1 is quickest; 0, its default, is slower and has better memory numbers",
        at_least=-1,
        at_most=1,
    )


@dataclass(slots=True)
class Verify:
    """What --mode=verify does besides checking."""

    seal: bool = setting(
        False,
        "a run of an older version gets manifests and a record, which tell from then on whether it "
        "is as it was",
    )


@dataclass(slots=True)
class Sweep:
    """What --mode=sweep searches, over the ranges of the recipe's search_space()."""

    trials: int = setting(
        20, "runs in all, those of earlier starts and of other workers included", at_least=1
    )
    random: int = setting(
        10, "runs whose values are drawn at random, before Optuna's TPE proposes any", at_least=1
    )
    prune_after: int = setting(
        5,
        "finished runs before one may be stopped whose best evaluation so far is below their "
        "median at that step; 0: none is stopped",
        at_least=0,
    )
    prune_from: int = setting(0, "steps before which no run is stopped", at_least=0)
    seed: int = setting(0, "of the values that are proposed", at_least=0)
