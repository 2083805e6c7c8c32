"""What a sweep needs that the package does not bring along, asked before anything is imported."""

import importlib.util

from hpa_jax.errors import InputError

# By the module that is looked for. Optuna would miss scikit-learn only after hours, when it
# computes the first importances.
_PACKAGES = {"optuna": "optuna", "sklearn": "scikit-learn"}


def check_packages() -> None:
    """Refuses a sweep where something is missing.

    Raises:
      InputError: says how to install it.
    """
    if importlib.util.find_spec("_sqlite3") is None:
        raise InputError(
            "--mode=sweep needs SQLite, which this Python was built without (it has no module "
            "_sqlite3): use another Python"
        )
    for module, package in _PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"--mode=sweep needs the package {package}, which is not installed: "
                "pip install 'hpa_jax[sweep]'"
            )
