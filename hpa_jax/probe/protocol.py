"""The protocol of SubCell's probe, number by number.

Where nothing else is said the source is `utils/train_mlp.py` of CellProfiling/subcell-analysis,
commit 3bd9f08d1dde1088bad5ebf037acae9db7d19d1c; what that file leaves to PyTorch is PyTorch's
default. Learning rate, batch size, epochs and the number of seeds are settings
(`hpa_jax.config.Probe`), whose defaults are its numbers too; it fits ten seeds, 0 to 9
(`train_classification.py`).
"""

HIDDEN = (512, 256)
"""Widths of the two hidden layers, each followed by ReLU and dropout."""

DROPOUT = 0.5

FOCAL_ALPHA = 0.25
"""Weight of positives; negatives weigh 1 - alpha."""

FOCAL_GAMMA = 2.0

WEIGHT_DECAY = 0.01
"""Of AdamW, on weights and biases alike: PyTorch's default, as b1, b2 and eps."""

B1 = 0.9
B2 = 0.999
EPS = 1e-8

PLATEAU_PATIENCE = 4
"""Epochs without a better validation score that the learning rate survives."""

PLATEAU_FACTOR = 0.5

PLATEAU_THRESHOLD = 1e-4
"""By which fraction of the best score another has to be better: PyTorch's default."""

STOP_AFTER = 20
"""Epochs without a validation score at least as good as the best, after which fitting ends."""
