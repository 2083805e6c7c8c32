"""The trainings of `fusion.py`: the parts, and the nets that are fused of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import hep2_recipes
import learning_recipes as recipes
from learning_recipes import PLAIN, Run, Scale, config_flags
from retrieval import metric_run

RECIPE = "configs/fusion.py"

METRIC = "metric"
"""Among the nets, the part that has learnt embeddings in place of labels."""

BANK = 2048
"""Training images whose neighbours vote."""


@dataclass(frozen=True)
class Data:
    """A dataset, and how nets are trained on it.

    Attributes:
      name: of its rows.
      single_label: every image has exactly one label.
      make_part: a net of the table below, and a seed, to its run.
      fused_flags: of a fused net, besides its parts, bank and seed.
      fused_steps: of its training: the head alone learns.
    """

    name: str
    single_label: bool
    make_part: Callable[[str, int], Run]
    fused_flags: tuple[str, ...]
    fused_steps: int

    def fused(self, seed: int, parts: Sequence[Run], runs: Path, *, bank: int) -> Run:
        """A net of the parts of one seed.

        Args:
          seed: of its head.
          parts: that are trained.
          runs: the folder of all runs.
          bank: of its votes; 0: the head alone.
        """
        kind = "votes" if bank else "head"
        steps = self.fused_steps
        folders = ",".join(str(runs / part.name) for part in parts)
        nets = "-".join(part.name.rpartition("_")[0] for part in parts)
        train = {"steps": steps, "eval_every": -(-steps // 3), "log_every": 50, "seed": seed}
        return Run(
            name=f"fused_{kind}_{nets}_{seed}",
            program="hpa_jax.main",
            recipe=RECIPE,
            flags=(
                *self.fused_flags,
                *config_flags("train", train),
                *config_flags("fusion", {"runs": folders, "bank": bank}),
                *config_flags("checkpoint", {"keep": 1}),
            ),
            tta=(PLAIN,),
            checkpoint="latest",
            scoring=() if self.single_label else recipes.FILL_EMPTY,
            steps=steps,
        )


def synthetic(scale: Scale) -> Data:
    """Synthetic images of real frequencies: data, recipe and size are those of learning.py."""

    def make_part(net: str, seed: int) -> Run:
        if net == METRIC:
            return metric_run(scale, seed, "contrastive")
        # Not trained again where learning.py has.
        name = "best" if net == scale.net else f"best_{net}"
        return recipes.best(replace(scale, net=net), seed, name=name, tta=[PLAIN])

    data = {
        "name": scale.dataset,
        "image_size": scale.size,
        "batch_size": scale.batch,
        "threads": 2,
    }
    flags = (*config_flags("data", data), *config_flags("model", {"dtype": "float32"}))
    return Data("synthetic", False, make_part, flags, max(1, scale.steps // 2))


def hep2(scale: hep2_recipes.Scale, learning: Scale) -> Data:
    """HEp-2 cells, the published split: one pattern each.

    Args:
      scale: of the classifiers.
      learning: whose batches and net the metric net has.
    """
    # A multiple of 32: the nets' last maps agree, as those of 80 px would not.
    size = 32 if scale is hep2_recipes.QUICK else 64
    data = {
        "name": hep2_recipes.PUBLISHED,
        "image_size": size,
        "channel_mix": "green",
        "threads": 2,
    }

    def make_part(net: str, seed: int) -> Run:
        if net == METRIC:
            run = metric_run(replace(learning, steps=scale.steps), seed, "contrastive")
            # Of six patterns a batch has four.
            per_pattern = {"images_per_group": 2 * learning.batch // 4}
            return replace(
                run,
                name=f"hep2_{METRIC}_{seed}",
                flags=(
                    *run.flags,
                    *config_flags("data", data),
                    *config_flags("metric", per_pattern),
                ),
            )
        run = hep2_recipes.published(scale, seed)
        return replace(
            run,
            name=f"hep2_{net}_{seed}",
            flags=(
                *run.flags,
                *config_flags("data", {"image_size": size}),
                *config_flags("model", {"name": net}),
            ),
            tta=(PLAIN,),
        )

    flags = (
        *config_flags("data", data | {"batch_size": 32, "sampling": "uniform"}),
        *config_flags("model", {"dtype": "float32"}),
        *config_flags("train", {"loss": "softmax_cross_entropy"}),
        *config_flags("checkpoint", {"metric": "accuracy"}),
        *config_flags("evaluate", {"fill_empty": False}),
    )
    return Data("hep2", True, make_part, flags, max(1, scale.steps // 4))
