"""The section `metric`: what embeddings are learnt by, where `config.train.task` is `metric`."""

from dataclasses import dataclass

from hpa_jax.config.setting import setting


@dataclass(slots=True)
class Metric:
    """Metric learning, with train.task=metric: the loss, its batches, the embedding."""

    loss: str = setting(
        "arcface",
        "arcface (a learnt direction for each class, with a margin: arXiv:1801.07698) or "
        "contrastive (images of one batch attract each other: arXiv:2004.11362)",
        choices=("arcface", "contrastive"),
    )
    target: str = setting(
        "groups",
        "what belongs together: images of one group (an antibody, a specimen), or label_sets: "
        "images with the same labels (contrastive: see pairs)",
        choices=("groups", "label_sets"),
    )
    pairs: str = setting(
        "jaccard",
        "contrastive on label_sets: jaccard (as much as two images share of their labels) or "
        "same_set (all of them or nothing)",
        choices=("jaccard", "same_set"),
    )
    scale: float = setting(
        30.0, "arcface: factor on the cosines (30: the challenge's winners')", above=0, at_most=1000
    )
    margin: float = setting(
        0.5,
        "arcface: radians by which an image's own class is held further off (0.5: the winners')",
        at_least=0,
        below=3.14,
    )
    temperature: float = setting(
        0.1, "contrastive: what cosines are divided by", above=0, at_most=100
    )
    embedding_size: int = setting(
        512, "values of an embedding (512: the winners')", at_least=2, at_most=65536
    )
    images_per_group: int = setting(
        4,
        "images of each group (or of each set of labels) in a batch; data.batch_size over this is "
        "how many groups a batch has. A group of fewer images repeats them",
        at_least=1,
    )
    relevance: str = setting(
        "same_set",
        "what retrieval has to find, in the evaluations that choose the best checkpoint: images of "
        "other groups with the same labels (same_set), or with one in common (any_label)",
        choices=("same_set", "any_label"),
    )
    num_classes: int = setting(
        0,
        "arcface: classes of the images to train on; follows from them, and config.json has it",
        at_least=0,
    )
