"""best_512.py at 1024 px, from the full-size images.

Source: bestfitting's DenseNet-121 at 1024 px, five folds: 0.565 (private leaderboard), in
CellProfiling/HPA-competition-solutions; else as best_512.py.
Assumed: what best_512.py assumes.
Expected: not measured here; this row needs an accelerator and the full-size data (the builder's
--config=kaggle_full --edge=1024).
Cost: four times best_512.py; 16 images fill a GPU of 24 GiB (smaller: --config.data.batch_size=8
--config.optim.accumulate=4).
Command: python -m hpa_jax.main --config=configs/best_1024.py --config.data.data_dir=DATA \\
  --workdir=RUN --config.model.pretrained=torchvision_densenet121
"""

from configs import best_512
from hpa_jax.config import Config
from hpa_jax.sweep import Choice, Range


def get_config() -> Config:
    config = best_512.get_config()
    config.data.name = "kaggle_full_1024"
    config.data.image_size = 1024
    config.data.batch_size = 32
    return config


def search_space() -> dict[str, Range | Choice]:
    return best_512.search_space()
