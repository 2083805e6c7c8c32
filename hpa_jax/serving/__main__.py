"""What a person does with an export: `python -m hpa_jax.serving COMMAND EXPORT ...`."""

import importlib
import os
import sys
from collections.abc import Sequence

from hpa_jax.environment.program import run_program
from hpa_jax.errors import EXIT_BAD_INPUT, EXIT_OK, InputError

# Each is a module with `main(arguments) -> exit status`, and is imported when it is called: what
# one of them needs, the others do without.
_COMMANDS = {
    "check": ("hpa_jax.serving.check", "compares its digests, reproduces the golden output"),
    "page": ("hpa_jax.serving.page.command", "writes it as one HTML file that a browser runs"),
    "predict": ("hpa_jax.serving.predict.command", "scores the images of a folder: a table"),
    "segment": ("hpa_jax.serving.segment.command", "finds the cells of a folder's images"),
    "serve": ("hpa_jax.serving.server.command", "answers over HTTP, with a page for people"),
    "similar": ("hpa_jax.serving.predict.similar", "finds the nearest images of such a table"),
}


_PIP_NAMES = {"skimage": "scikit-image", "cv2": "opencv-python-headless", "yaml": "pyyaml"}
"""Of packages that are imported under another name."""


def main(arguments: Sequence[str]) -> int:
    """Runs a command; returns the exit status."""
    arguments = list(arguments)
    if arguments in (["-h"], ["--help"]):
        print(_usage())
        return EXIT_OK
    if not arguments or arguments[0].startswith("-"):
        print(_usage(), file=sys.stderr)
        return EXIT_BAD_INPUT
    name = "check"
    if arguments[0] in _COMMANDS:
        name = arguments.pop(0)
    elif not os.path.exists(arguments[0]) and os.sep not in arguments[0]:
        raise InputError(
            f"{arguments[0]} is no command ({', '.join(_COMMANDS)}) and no export's folder; see "
            "python -m hpa_jax.serving --help"
        )
    module, _ = _COMMANDS[name]
    try:
        return importlib.import_module(module).main(arguments)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "hpa_jax"):
            raise
        raise InputError(
            f"{name} needs the package {package} for this, which is not installed: pip install "
            f"{_PIP_NAMES.get(package, package)}"
        ) from error


def _usage() -> str:
    lines = ["python -m hpa_jax.serving COMMAND EXPORT ...", ""]
    for name, (_, what) in _COMMANDS.items():
        lines.append(f"  {name:<10}{what}")
    lines.append("")
    lines.append("COMMAND --help says more. Without a command, EXPORT is checked.")
    return "\n".join(lines)


if __name__ == "__main__":
    run_program(main)
