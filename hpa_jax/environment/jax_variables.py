"""What the environment tells JAX, checked before JAX fails on it with a traceback or an abort."""

import os
import re
import subprocess
import sys

from hpa_jax.errors import InputError, one_line

_LONGEST = 300
"""Characters of an answer of JAX or of the compiler in a message."""

# What this project sets and documents. Others are tried out in a process of their own, which costs
# a quarter of a second.
_KNOWN_XLA_FLAG = re.compile(
    r"--xla_force_host_platform_device_count=\d+"
    r"|--xla_cpu_collective_(call_terminate|call_warn_stuck|)_?timeout_seconds=\d+"
)

# Only the part of JAX that reads the flags.
_TRY_OUT = "from jaxlib import xla_client; xla_client.make_cpu_client()"


def import_jax():
    """Imports JAX, which reads its JAX_... variables then.

    Raises:
      InputError: one of them has a value that JAX does not take.
    """
    try:
        import jax
    except ValueError as error:
        reason = one_line(error, _LONGEST)
        raise InputError(
            f"a variable of the environment is wrong: {reason}; correct it, or unset it"
        ) from None
    return jax


def check_xla_flags() -> None:
    """Refuses an XLA_FLAGS that would make the compiler abort this process.

    Raises:
      InputError: has the compiler's words.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if all(_KNOWN_XLA_FLAG.fullmatch(flag) for flag in flags.split()):
        return
    command = [sys.executable, "-c", _TRY_OUT]
    tried = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if tried.returncode == 0:
        return
    lines = tried.stderr.strip().splitlines() or [f"status {tried.returncode}"]
    # Without the time and the place that XLA's log puts before it.
    answer = re.sub(r"^[EF]\d{4} .*?\] ", "", lines[0])
    raise InputError(
        f"XLA_FLAGS={flags!r} is refused by XLA: {one_line(answer, _LONGEST)}; "
        "correct that variable of the environment, or unset it"
    )


def check_devices() -> None:
    """Has JAX look for its devices.

    Raises:
      InputError: the platform that was asked for is not there.
    """
    jax = import_jax()
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        if re.search("DEADLINE_EXCEEDED|UNAVAILABLE|coordination", str(error)):
            # Not this machine: another process of the run is gone.
            raise
        asked = jax.config.jax_platforms
        # JAX's advice is about the variable, which the end of this message is about.
        reason = re.sub(r"\s*\((set|you may need).*", "", one_line(error))
        raise InputError(_not_there(asked, reason)) from None


def _not_there(asked: str | None, reason: str) -> str:
    if asked and "gpu" in asked.split(","):
        reason = "JAX's name of an NVIDIA GPU is cuda"
    elif not reason or reason == "AssertionError":
        reason = "JAX finds no such device, or lacks the package for it"
    if not asked:
        return (
            f"JAX finds no device it can use: {one_line(reason, _LONGEST)}; "
            "JAX_PLATFORMS=cpu trains on the CPU"
        )
    return (
        f"JAX_PLATFORMS={asked} asks for what is not there: {one_line(reason, _LONGEST)}; unset "
        "JAX_PLATFORMS to take what there is, or install for the device: "
        "HPA_LOCK=cuda launch/local.sh setup (or HPA_LOCK=tpu)"
    )
