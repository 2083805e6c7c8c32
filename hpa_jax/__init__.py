"""Train, evaluate and export classifiers of protein localisation on Human Protein Atlas images.

The public API, of which each name is imported when it is first used (PEP 562): `import hpa_jax` by
itself loads neither JAX nor anything else.

    config = hpa_jax.load_config("configs/best_512.py")
    hpa_jax.train(config, "runs/best")
    predictor = hpa_jax.load_run("runs/best")
"""

import importlib

__version__ = "0.1.0"

# Public name: the module that has it, and its name there.
_PUBLIC = {
    "Config": ("hpa_jax.config", "Config"),
    "create_model": ("hpa_jax.models.classifier", "create_model"),
    "evaluate": ("hpa_jax.metrics.summary", "evaluate"),
    "list_models": ("hpa_jax.models.classifier", "list_models"),
    "load_config": ("hpa_jax.recipes", "load_config"),
    "load_dataset": ("hpa_jax.data.catalog", "load_dataset"),
    "load_export": ("hpa_jax.serving.artifact", "load"),
    "load_pretrained": ("hpa_jax.pretrained.load", "load_pretrained"),
    "load_run": ("hpa_jax.evaluation.predictor", "load_run"),
    "train": ("hpa_jax.training.loop", "train"),
}

# Public name: the module or package that it is.
_NAMESPACES = {
    "losses": "hpa_jax.optim.losses",
    "metrics": "hpa_jax.metrics",
    "optim": "hpa_jax.optim",
    "transforms": "hpa_jax.transforms",
}

__all__ = [*_PUBLIC, *_NAMESPACES, "__version__"]


def __getattr__(name: str):
    if name in _NAMESPACES:
        return importlib.import_module(_NAMESPACES[name])
    if name in _PUBLIC:
        module, name_there = _PUBLIC[name]
        return getattr(importlib.import_module(module), name_there)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
