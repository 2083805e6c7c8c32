"""The section `data`: which images a net sees, and how they are prepared."""

from dataclasses import dataclass

from hpa_jax.config.setting import setting
from hpa_jax.deprecations import accept_old_names
from hpa_jax.environment.dataset_names import bare_name, split_weight
from hpa_jax.labels import HPA_2018, MAX_LABELS, Vocabulary, named


def _are_sources(sources: tuple[str, ...]) -> bool:
    names = []
    for source in sources:
        versioned, weight = split_weight(source)
        name = bare_name(versioned)
        try:
            in_range = 1e-3 <= float(weight or 1) <= 1e3
        except ValueError:
            return False
        if not name or name in names or not in_range:
            return False
        names.append(name)
    return True


def _are_label_ids(labels: tuple[int, ...]) -> bool:
    each_once = len(set(labels)) == len(labels)
    return each_once and all(label in range(MAX_LABELS) for label in labels)


def _are_label_names(labels: tuple[str, ...]) -> bool:
    try:
        named(labels)
    except ValueError:
        return not labels
    return True


@accept_old_names("data")
@dataclass(slots=True)
class Data:
    """What is read, and how it is made into batches."""

    data_dir: str = setting(
        "data",
        "folder of the prepared datasets: --data_dir of python -m tfds_builder.hpa",
        path="one",
    )
    name: str = setting(
        "kaggle_512",
        "the dataset, NAME (its newest version) or NAME:VERSION; of several sources, the one to "
        "evaluate on and to export for",
    )
    sources: tuple[str, ...] = setting(
        (),
        "datasets to train on together, each NAME or NAME:WEIGHT (NAME as data.name), whose "
        "images are drawn WEIGHT times as often; (): data.name",
        accepts=_are_sources,
        allowed="NAME or NAME:WEIGHT, weights 0.001 to 1000, each name once",
    )
    train_split: str = setting(
        "train", "train, validation, test, or all of them together: the images to train on"
    )
    eval_split: str = setting(
        "validation",
        "the same: the images to evaluate on while training, and with --mode=evaluate and predict",
    )
    fold: int = setting(
        0, "the fold that validation means; train is then all other folds", at_least=0
    )
    image_size: int = setting(
        0,
        "px a side that the net sees; 0: as stored. The host resizes (area or bilinear)",
        at_least=32,
        at_most=8192,
        or_zero=True,
    )
    aspect: str = setting(
        "",
        "what becomes of images that are not square: pad (black beside them), crop (their middle), "
        "stretch (they are distorted); '': as the run was started, and a new run pads",
        choices=("", "pad", "crop", "stretch"),
    )
    batch_size: int = setting(32, "images per step, over all devices of all processes", at_least=1)
    channel_mix: str = setting(
        "rgby",
        "what the net sees of the four stored channels: one of CHANNEL_MIXES of "
        "hpa_jax.transforms.channel_mix, channels by name (green,blue), or a matrix with a row "
        "for each input of the net ([[0, 1, 0, 0], [0.5, 0, 0.5, 0]])",
    )
    labels: tuple[int, ...] = setting(
        (),
        "ids of the labels to learn; images with none of them are left out; (): all of the "
        "vocabulary",
        accepts=_are_label_ids,
        allowed="ids of the vocabulary's labels, from 0, each once",
    )
    vocabulary: tuple[str, ...] = setting(
        (),
        "names of all labels, by label id; a dataset's labels are found by these names. (): those "
        "of the dataset data.name, which config.json then lists",
        accepts=_are_label_names,
        allowed=f"up to {MAX_LABELS} names, each once",
    )
    # How many values they hold depends on other fields: check() has these rules.
    mean: tuple[float, ...] = setting(
        (),
        "mean of each stored channel as a fraction of 255: red, green, blue, yellow; four for each "
        "source; (): as computed when the dataset was built",
    )
    std: tuple[float, ...] = setting((), "standard deviations, as data.mean")
    input_mean: tuple[float, ...] = setting(
        (),
        "mean of each of the net's own input channels, for a pretrained net that expects "
        "ImageNet's; (): follows from data.mean",
    )
    input_std: tuple[float, ...] = setting((), "standard deviations, as data.input_mean")
    sampling: str = setting(
        "uniform",
        "how often an epoch shows an image: uniform; hpa_densenet (repeats those with a rare "
        "label); repeat_factor (LVIS); class_balanced (each label as often)",
    )
    rare_below: int = setting(
        350,
        "a label of fewer images of train_split is rare (350: the challenge's nine rarest)",
        at_least=1,
    )
    rare_copies: float = setting(
        4.0, "times that an epoch shows an image with a rare label (hpa_densenet)", at_least=1
    )
    repeat_threshold: float = setting(
        0.03,
        "fraction of the images below which a label is repeated (repeat_factor)",
        above=0,
        at_most=1,
    )
    connections: int = setting(
        32, "over which a data_dir in a bucket is read", at_least=1, at_most=512
    )
    cache_gb: float = setting(
        64.0,
        "of a data_dir in a bucket that are kept on the local disk, in HPA_SCRATCH, as far as it "
        "has room; 0: nothing",
        at_least=0,
    )
    threads: int = setting(4, "threads that decode, in each process", at_least=1)

    def named_vocabulary(self) -> Vocabulary:
        """All labels; as long as the section leaves them to the dataset, the 28 of 2018."""
        if not self.vocabulary:
            return HPA_2018
        return named(tuple(self.vocabulary))

    def label_ids(self) -> tuple[int, ...]:
        """Ids of the labels to learn, in the order of the logits."""
        return tuple(self.labels) or tuple(range(len(self.named_vocabulary())))

    def label_names(self) -> tuple[str, ...]:
        """Names of the labels to learn, in the order of the logits."""
        names = self.named_vocabulary().labels
        return tuple(names[label] for label in self.label_ids())

    def source_names(self) -> tuple[str, ...]:
        """The datasets to train on."""
        names = tuple(split_weight(source)[0] for source in self.sources)
        return names or (self.name,)

    def source_weights(self) -> tuple[float, ...]:
        """How often an image of each dataset is drawn, relative to one of weight 1."""
        weights = tuple(float(split_weight(source)[1] or 1) for source in self.sources)
        return weights or (1.0,)
