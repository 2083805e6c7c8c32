"""A side of `train_step.py` as a process that waits for requests and answers them.

    python benchmarks/train_step_sides.py jax|torch

A request is a line of JSON on standard input, an answer one on standard output. `{"device": 1}`
asks what there is; `{"prepare": WORKLOAD}` builds, compiles and warms up; `{"measure": {"kind":
KIND, "seconds": SECONDS}}` asks for the seconds of each step in that time, `{"memory": 1}` for the
bytes that the process has taken at most. Both sides do the same
work: uint8 images that lie on the device, normalized there, forward, backward and Adam on binary
cross entropy; or forward and sigmoid.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence

from timing import step_seconds
from train_step_work import SIDES, Side

LARGEST_BLOCK = 20


def make_side(name: str) -> Side:
    """Imports the library only now: the other one would share its threads and memory."""
    if name == "jax":
        from train_step_jax import JaxSide

        return JaxSide()
    from train_step_torch import TorchSide

    return TorchSide()


def measure(side: Side, kind: str, seconds: float) -> list[float]:
    """Seconds of each step, in blocks that the host waits for.

    A block is one step where steps are long, and more where they are short.
    """
    start = time.perf_counter()
    side.run(kind, 1)
    one = time.perf_counter() - start
    block = int(seconds / 4 / one)
    block = max(1, min(LARGEST_BLOCK, block))
    blocks = step_seconds(lambda: side.run(kind, block), seconds, least=2)
    return [taken / block for taken in blocks]


def is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return "out of memory" in text or "resource_exhausted" in text


def answer(side: Side, request: dict) -> dict:
    if "device" in request:
        return side.device()
    if "memory" in request:
        # In KiB, as Linux counts.
        return {"bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if "measure" in request:
        return {"steps": measure(side, **request["measure"])}
    try:
        return side.prepare(**request["prepare"])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {"out_of_memory": True}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=SIDES)
    args = parser.parse_args(argv)
    # What libraries print goes to the log, and not among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side = make_side(args.side)
    for line in sys.stdin:
        print(json.dumps(answer(side, json.loads(line))), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
