"""The section of a fused net: which runs it is made of, its head, and the votes of neighbours."""

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
    bank: int = setting(
        2048,
        "training images, at most, whose embeddings the net keeps, so that the nearest of them "
        "vote; 0: no votes",
        at_least=1,
        at_most=100_000,
        or_zero=True,
    )
    neighbours: int = setting(
        20, "of those the nearest ones, whose labels are averaged", at_least=1, at_most=1000
    )
    temperature: float = setting(
        0.07,
        "an image of cosine similarity s to the query weighs exp(s / temperature) (DINO: 0.07)",
        at_least=0.01,
        at_most=100,
    )
    parts: tuple[str, ...] = setting(
        (), "the nets of the runs, one of hpa_jax.models.BACKBONES each; filled in from them"
    )
    images: int = setting(
        0, "how many images there are in the bank; filled in from the data", at_least=0
    )
