"""The rows that the benchmarks write with `--json`, and the names of devices in them."""

import contextlib
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from hpa_jax.files import write_atomically


def make_row(
    name: str,
    value: float,
    unit: str,
    *,
    device: str,
    peer: str | None = None,
    peer_value: float | None = None,
    ratio_to_peer: float | None = None,
    **details,
) -> dict:
    """One measured value beside that of a peer.

    Args:
      name: of what was measured; docs/results.md quotes some.
      value: in `unit`.
      unit: of `value` and `peer_value`.
      device: that it was measured on; "any" if the value does not depend on it.
      peer: what it is compared with, if anything.
      peer_value: that of the peer, from which follows the ratio.
      ratio_to_peer: if it is not simply value / peer_value.
      details: further keys of the row.
    """
    row = {"name": name, "value": value, "unit": unit, "peer": peer}
    if peer_value is not None:
        row["peer_value"] = peer_value
        if peer_value and ratio_to_peer is None:
            ratio_to_peer = value / peer_value
    row["ratio_to_peer"] = ratio_to_peer
    row["device"] = device
    return row | details


def write_rows(path: Path | None, rows: Sequence[dict]) -> None:
    """Writes the rows as a JSON array; without a path it does nothing."""
    if path is not None:
        write_atomically(path, json.dumps(rows, indent=1) + "\n")


def cpu_name() -> str:
    """The model of the CPU as Linux names it, or else what Python knows of it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return machine_name()


def machine_name() -> str:
    """The processor or architecture as Python knows it."""
    return platform.processor() or platform.machine()


def with_cores(name: str) -> str:
    """The name of a CPU followed by its number of cores."""
    return f"{name}, {os.cpu_count()} cores"
