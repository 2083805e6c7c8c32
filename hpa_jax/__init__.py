"""Train, evaluate and hand over classifiers of protein localisation on Human Protein Atlas images."""

__version__ = "0.1.0"
