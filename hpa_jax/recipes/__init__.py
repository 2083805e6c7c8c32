"""Where a configuration comes from: a recipe or a run's folder, and what overrides its fields.

load.py          recipes, and flags that set fields
command_line.py  the flags of `python -m hpa_jax.main`
"""

from hpa_jax.recipes.command_line import parse
from hpa_jax.recipes.load import load_config, load_recipe, override

__all__ = ["load_config", "load_recipe", "override", "parse"]
