"""`--mode=sweep`: runs of one recipe with other values, and which of them are best.

space.py     the ranges that a recipe declares, checked against the settings
study.py     which trials there are, and which values the next one gets, by Optuna
storage.py   sweep.db, where Optuna keeps them
record.py    a trial as all others see it
run.py       the loop of one worker; any number of them share a sweep
trial.py     one trial: a process of `hpa_jax.main` in a run's folder of its own
launch.py    starts that process so that it ends with its worker
packages.py  what it needs that may not be installed
summary.py   sweep.json, and a line for each trial
"""

from hpa_jax.sweep.space import Choice, Range

__all__ = ["Choice", "Range"]
