"""What a system error was, in its own words, and what helps against that and not another one."""

import errno
import os

from hpa_jax.errors import one_line

_ADVICE = {
    errno.ENOSPC: "free some and start again",
    errno.EDQUOT: "remove files of yours, or ask for a larger quota, and start again",
    errno.EFBIG: "raise the limit (ulimit -f), or choose a file system that takes larger files",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EISDIR: "check the path: it is a folder",
    errno.EEXIST: "check the path: something else is there",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "check its symbolic links: they go round in a circle",
    errno.EMFILE: "raise the limit (ulimit -n) and start again",
    errno.ENFILE: "close other programs, or raise the system's limit, and start again",
    errno.ENOMEM: "close other programs, or take a smaller batch, and start again",
    errno.EIO: "the disk, or the way to it, has failed: check it before you start again",
    errno.ESTALE: "the file server has lost it: check the mount and start again",
    errno.ETIMEDOUT: "the file server does not answer: check the mount and start again",
    errno.ENOTCONN: "the mount has lost its connection: mount it again and start again",
    errno.ETXTBSY: "another program is using it: wait for that one, and start again",
    errno.EBUSY: "another program is using it: wait for that one, and start again",
}

# What the call can be changed for. Anything else is the machine's, and may be gone next time.
_OF_THE_CALL = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    }
)


# What only writing meets.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def is_of_writing(error: OSError) -> bool:
    """Whether the error says by itself that something could not be written."""
    code = error.errno or _code_of(str(error))
    return code in _OF_WRITING


def is_input(error: OSError) -> bool:
    """Whether another call is the remedy, such as another path."""
    return error.errno in _OF_THE_CALL


def reason(error: BaseException) -> str:
    """What was seen: the system's own words, with the file where it is known."""
    text = one_line(error)
    name = getattr(error, "filename", None)
    return f"{text} ({name})" if name is not None else text


def advice(error: BaseException) -> str:
    """What to do about it; for a cause that is not known, only to look at what was said."""
    code = getattr(error, "errno", None) or _code_of(str(error))
    return _ADVICE.get(code, "put that right and start again")


def _code_of(text: str) -> int | None:
    """The error that a library's text quotes in the system's words."""
    for code in _ADVICE:
        if os.strerror(code) in text:
            return code
    return None


def reason_and_advice(error: BaseException) -> str:
    """One line: what was seen, and what to do about that."""
    return f"{reason(error)}; {advice(error)}"
