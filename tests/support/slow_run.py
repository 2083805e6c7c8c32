"""hpa_jax.main whose steps take SECONDS_A_STEP at least: no machine is done before a test acts."""

import os
import sys
import time

from hpa_jax.main import main
from hpa_jax.training.run import Run

next_batch = Run.next_batch


def next_batch_later(self, step):
    time.sleep(float(os.environ["SECONDS_A_STEP"]))
    return next_batch(self, step)


if __name__ == "__main__":
    Run.next_batch = next_batch_later
    sys.exit(main(sys.argv[1:]))
