"""Names of a package that are imported when they are first used (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Mapping


def lazy_exports(
    package: str, table: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that re-exports without importing.

    Args:
      package: its name.
      table: public name to where it is: `package.module:name`, or `package.module` for a module.
    """

    def get_attribute(name: str) -> object:
        if name not in table:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module_name, _, name_there = table[name].partition(":")
        module = importlib.import_module(module_name)
        if not name_there:
            return module
        return getattr(module, name_there)

    def directory() -> list[str]:
        return sorted({*vars(sys.modules[package]), *table})

    return get_attribute, directory
