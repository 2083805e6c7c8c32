"""The checkout that the benchmarks lie in; importing this puts it first on the import path.

So they run where hpa_jax is not installed, as on a rented machine that has only JAX and PyTorch.
"""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
BENCHMARKS = REPOSITORY / "benchmarks"

if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))
