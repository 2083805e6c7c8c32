"""`--mode=sweep`: runs of one recipe with other values, and which of them are best.

space.py     the ranges that a recipe declares, checked against the settings
study.py     the trials in sweep.db, the one file that calls Optuna
run.py       the loop of one worker; any number of them share a sweep
trial.py     one trial: a process of `hpa_jax.main` in a run's folder of its own
launch.py    starts that process so that it ends with its worker
summary.py   sweep.json, and a line for each trial
"""

from hpa_jax.sweep.space import Choice, Range

__all__ = ["Choice", "Range"]
