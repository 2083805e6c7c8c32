"""Metrics of classifiers as pure functions of arrays.

What depends on NumPy and JAX alone is re-exported here. `bootstrap`, `channel_baselines`,
`image_similarity`, `paired`, `stacking`, `summary`, `temperature` and `vote_weight` need SciPy,
whose import costs half a second, and are imported by name:
`from hpa_jax.metrics import bootstrap`. `summary` documents how to add a metric. Where every image
has exactly one label: `single_label`, `single_label_summary`. Of images that a net makes:
`image_similarity`, `channel_baselines`.
"""

from hpa_jax.metrics.calibration import calibration_error, reliability
from hpa_jax.metrics.classification import (
    image_f1,
    label_f1,
    macro_f1,
    mean_image_f1,
    metrics_from_counts,
    micro_f1,
)
from hpa_jax.metrics.crossfitting import assign_folds, crossfit
from hpa_jax.metrics.histogram import count_arrays, score_counts, threshold_grid
from hpa_jax.metrics.ranking import auc, average_precision, ranking_metrics
from hpa_jax.metrics.thresholds import decide
from hpa_jax.metrics.thresholds import fit as fit_thresholds

__all__ = [
    "assign_folds",
    "auc",
    "average_precision",
    "calibration_error",
    "count_arrays",
    "crossfit",
    "decide",
    "fit_thresholds",
    "image_f1",
    "label_f1",
    "macro_f1",
    "mean_image_f1",
    "metrics_from_counts",
    "micro_f1",
    "ranking_metrics",
    "reliability",
    "score_counts",
    "threshold_grid",
]
