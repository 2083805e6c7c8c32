"""How hard a client tries to fetch a file."""

import math
from typing import NamedTuple


class Policy(NamedTuple):
    """How hard to try, and how long."""

    retries: int = 6  # attempts after the first
    backoff: float = 1.0  # seconds before the first retry, doubled before each further one
    timeout: float = 120.0  # seconds that one attempt may take
    min_rate: float = math.inf  # bytes/s; an attempt as fast as that may take another `timeout`
    max_bytes: int = 64 << 20  # of a file
