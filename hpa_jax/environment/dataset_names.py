"""Names of datasets that say which version is meant: `NAME` the newest, `NAME:VERSION` that one.

No TFDS: the configuration reads such names, too.
"""

import re

_VERSION = re.compile(r"\d+\.\d+\.\d+")


def split_version(name: str) -> tuple[str, str]:
    """The dataset's own name, and the version; `""` where none is named."""
    bare, _, version = name.partition(":")
    return bare, version


def bare_name(name: str) -> str:
    """The dataset's own name."""
    return split_version(name)[0]


def split_weight(source: str) -> tuple[str, str]:
    """`NAME[:VERSION][:WEIGHT]` to the name with its version, and the weight; `""` without one.

    A weight is never taken for a version, which has two points.
    """
    bare, _, rest = source.partition(":")
    version, _, weight = rest.partition(":")
    if _VERSION.fullmatch(version):
        return f"{bare}:{version}", weight
    return bare, rest
