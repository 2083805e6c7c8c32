"""YAML that every reader takes for the same, whatever names are in it.

Design: readers of YAML 1.1 and 1.2 disagree on what a word without quotes is (`no`, `1e3`, `0o17`,
`12:30`), so all texts but plain lower-case words stand in quotes, and what cannot be printed is
escaped.
"""

import re
from typing import Any

import yaml

_PLAIN = re.compile(r"[a-z][a-z0-9_-]*")
# Words that stand for a truth value or nothing in one version or the other.
_RESERVED = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_NO_WRAPPING = 1 << 30


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Says what is there twice twice."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    is_plain = _PLAIN.fullmatch(text) and text not in _RESERVED
    style = None if is_plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(values: dict) -> str:
    """Plain values as YAML, in their order; ends with a newline."""
    return yaml.dump(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_NO_WRAPPING
    )


def from_yaml(text: str) -> Any:
    """The plain values of a text of YAML."""
    return yaml.safe_load(text)
