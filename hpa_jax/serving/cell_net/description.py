"""model.json of a net that finds cells."""

from hpa_jax.config import Config
from hpa_jax.labels import CHANNELS
from hpa_jax.segmentation import stretch
from hpa_jax.segmentation.targets import MAPS
from hpa_jax.serving.cell_net.run import CellRun
from hpa_jax.serving.description import describe_origin
from hpa_jax.serving.kinds import CELL_MASKS
from hpa_jax.training.tasks.cell_masks import OUTPUT
from hpa_jax.transforms import normalize
from hpa_jax.transforms.channel_mix import mixed_statistics


def describe_cell_net(run: CellRun, trained: Config) -> dict:
    """The contents of model.json.

    Args:
      run: that is exported.
      trained: the run's own configuration.
    """
    config = run.config
    side = config.cell_masks.tile
    preparation = normalize.preparation(config.data)
    statistics = preparation["input_statistics"] or mixed_statistics(
        preparation["channel_mix"], preparation["mean"], preparation["std"]
    )
    return {
        "kind": CELL_MASKS,
        "input": {
            "dtype": "uint8",
            "shape": ["B", side, side, len(CHANNELS)],
            "channels": list(CHANNELS),
            "stretched": {
                "quantiles": [stretch.LOWEST, stretch.HIGHEST],
                "become": [0, stretch.WHITE],
                "smallest_range": stretch.SMALLEST_RANGE,
                "of": "each channel of the complete field, before it is cut into tiles",
            },
        },
        "output": f"{OUTPUT}, float32 [B, {side}, {side}, {len(MAPS)}], 0 to 1",
        "maps": list(MAPS),
        # In px, of the fields that it was trained on: others are scaled.
        "nucleus_diameters": list(config.cell_masks.nucleus_diameters),
        "channel_mix": {
            "name": config.data.channel_mix,
            "matrix": [list(row) for row in preparation["channel_mix"]],
        },
        "normalisation": {
            "formula": "(matrix (x / 255) - mean) / std, inside the forward pass",
            "mean": list(statistics[0]),
            "std": list(statistics[1]),
        },
        "provenance": describe_origin(run.step, run.written, trained),
    }
