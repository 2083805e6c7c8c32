"""The section of a fused net: which runs it is made of, and its head."""

from dataclasses import dataclass

from hpa_jax.config.setting import setting


@dataclass(slots=True)
class Fusion:
    """Several finished nets as one (model.name=fusion)."""

    runs: str = setting(
        "",
        "folders of finished runs, separated by commas, whose backbones are fused; they are read "
        "once, when the run is started",
        path="listed",
    )
    width: int = setting(256, "values of the head's hidden layer", at_least=1, at_most=8192)
    parts: tuple[str, ...] = setting(
        (), "the nets of the runs, one of hpa_jax.models.BACKBONES each; filled in from them"
    )
