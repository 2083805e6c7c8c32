"""Command lines whose errors are this program's."""

import argparse
from typing import NoReturn

from hpa_jax.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message}; see {self.prog} --help")
