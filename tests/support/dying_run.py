"""hpa_jax.main in a process that is killed in a phase of the run: the first argument names it."""

import os
import signal
import sys

from hpa_jax.main import main
from hpa_jax.parallel import join
from hpa_jax.training.checkpoint import Checkpoints
from hpa_jax.training.experiment import Experiment
from hpa_jax.training.run import Run

SURVIVED = 4
"""Steps, and saves, that are done before."""


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dying(owner, name, *, survived=0, after=False):
    """Has a call of `owner.name` be the last thing that this process does."""
    call = getattr(owner, name)
    calls = []

    def last_call(*arguments, **named):
        calls.append(name)
        if len(calls) > survived and not after:
            die()
        result = call(*arguments, **named)
        if len(calls) > survived:
            die()
        return result

    setattr(owner, name, last_call)


def dying_in_evaluation():
    evaluate = Experiment.evaluate

    def evaluate_one_batch(self, state, stopped):
        def stopped_or_dead(where, **named):
            answer = stopped(where, **named)
            if where.startswith("batch 0 of an evaluation"):
                die()
            return answer

        return evaluate(self, state, stopped_or_dead)

    Experiment.evaluate = evaluate_one_batch


PHASES = {
    "meeting": lambda: dying(join, "_initialize"),
    "compile": lambda: dying(Experiment, "compile_train_step"),
    "step": lambda: dying(Run, "train_step", survived=SURVIVED, after=True),
    "save": lambda: dying(Checkpoints, "save", survived=1, after=True),
    "restore": lambda: dying(Checkpoints, "read"),
    "evaluation": dying_in_evaluation,
}

if __name__ == "__main__":
    PHASES[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
