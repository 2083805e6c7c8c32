"""Reasons of the reader in the words of a command line."""

# The reader knows no flags: a server's clients and a page have the same settings under no dashes.
_FLAGS = {
    "such as order=": "such as --order=",
    "(float_range)": "(--float_range)",
    "a projection (max or mean)": "--projection=max or mean",
    "ask for a projection if": "ask for one with --projection if",
    "state the white of these files": "state it with --white",
    "in one file with their order": "in one file, with {id} alone in --pattern",
}


def with_flags(reason: str, order_flag: str = "--order") -> str:
    """The reason that the reader gives, with flags for what is to be stated.

    Args:
      reason: of a `Refused` or a `FaultyImage`.
      order_flag: the flag with the channels of a file's planes.
    """
    for words, flag in _FLAGS.items():
        reason = reason.replace(words, flag)
    return reason.replace("--order=", f"{order_flag}=")
