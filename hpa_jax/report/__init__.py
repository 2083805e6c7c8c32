"""A page to look at: what a dataset holds, before anything is trained on it."""

from hpa_jax.report.dataset import report

__all__ = ["report"]
