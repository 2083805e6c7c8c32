"""Train, evaluate and export classifiers of protein localisation on Human Protein Atlas images.

The public API, of which each name is imported when it is first used (PEP 562): `import hpa_jax` by
itself loads neither JAX nor anything else.

    config = hpa_jax.load_config("configs/best_512.py")
    hpa_jax.train(config, "runs/best")
    predictor = hpa_jax.load_run("runs/best")
"""

from hpa_jax.lazy import lazy_exports

__version__ = "0.3.0"

# Public name to where it is: a name in a module, or a module or package.
_PUBLIC = {
    "Config": "hpa_jax.config:Config",
    "create_model": "hpa_jax.models.classifier:create_model",
    "create_unet": "hpa_jax.models.unet:create_unet",
    "evaluate": "hpa_jax.metrics.summary:evaluate",
    "list_models": "hpa_jax.models.classifier:list_models",
    "load_config": "hpa_jax.recipes:load_config",
    "load_dataset": "hpa_jax.data.catalog:load_dataset",
    "load_export": "hpa_jax.serving.artifact:load",
    "load_pretrained": "hpa_jax.pretrained.load:load_pretrained",
    "load_run": "hpa_jax.evaluation.predictor:load_run",
    "losses": "hpa_jax.optim.losses",
    "metrics": "hpa_jax.metrics",
    "optim": "hpa_jax.optim",
    "train": "hpa_jax.training.loop:train",
    "transforms": "hpa_jax.transforms",
}

__all__ = [*_PUBLIC, "__version__"]

__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
