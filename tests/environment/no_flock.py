"""Makes flock() fail with ENOSYS in this process, as on Lustre mounted without it.

The kernel itself answers so, by a filter on system calls (seccomp), which needs no root.
"""

import ctypes
import errno
import platform
import struct

_NUMBERS = {"x86_64": 73, "aarch64": 32}
"""Of the system call flock."""

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2


def forbid_flock() -> None:
    number = _NUMBERS[platform.machine()]
    program = [
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, _FAIL_WITH | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    instructions = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(instructions)
    filter_ = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    assert libc.prctl(_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(filter_), 0, 0) == 0
