"""A net's first values from a file or a named source: every array of the backbone, or none.

Nothing is skipped: `match.py` refuses an array that is missing or unknown, this file one of another
shape or with a value that is not finite.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.models import Classifier, UNet, check_size, init_variables
from hpa_jax.pretrained.formats import read
from hpa_jax.pretrained.locate import locate
from hpa_jax.pretrained.match import match
from hpa_jax.pretrained.stem import COLORS, check_stem, inflate

# The layer norm before the logits of the head `norm_linear`.
_HEAD_NORM = "params/head/norm/"
# The convolution that sees the image, where it is not `stem_conv`.
_FIRST_CONVOLUTION = {"all_cnn": "conv1", "inception_resnet_v2": "stem1/conv"}


@dataclass(frozen=True)
class Loaded:
    """What was loaded, for the log and for WORKDIR/pretrained.json.

    Attributes:
      source: as configured.
      file: name of the file that was read.
      sha256: of that file, hex.
      layout: 'torch', 'ours', 'keras_legacy', 'keras_3'; 'run' of a checkpoint.
      arrays: how many went into the net.
      head: 'taken' from the file, 'left' there because the net's is another, 'its norm taken' where
        the net's is for other labels, or 'none' in the file.
      stem: what became of the first convolution.
      mean, std: of red, green, blue as fractions of 255, by which the weights' training normalized
        images; () if not known.
      licence: of the weights, as their publisher states it; "" if not known.
      inside: the key under which the file has the net's weights; "" where they are all it has.
      prefix: that was taken off all keys, as `module.`; "" for none.
      parts: SHA-256 of each file, by name, where the file that was read is an index of others.
    """

    source: str
    file: str
    sha256: str
    layout: str
    arrays: int
    head: str
    stem: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    licence: str = ""
    inside: str = ""
    prefix: str = ""
    parts: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict:
        return asdict(self)

    def __str__(self) -> str:
        text = (
            f"starting from {self.source} ({self.file}, SHA-256 {self.sha256[:16]}...): "
            f"{self.arrays} arrays; {self.stem}; the file's head: {self.head}"
        )
        if self.parts:
            text += f"; from {len(self.parts)} files"
        if self.inside:
            text += f"; under {self.inside!r} in the file"
        if self.prefix:
            text += f"; {self.prefix!r}, with which all keys begin, was taken off"
        if self.licence:
            text += f"; licence {self.licence}"
        if not self.mean:
            return text
        mean = " ".join(f"{value:.4g}" for value in self.mean)
        std = " ".join(f"{value:.4g}" for value in self.std)
        return (
            f"{text}; trained on red, green, blue normalized by mean {mean} and std {std}, "
            "as fractions of 255"
        )


def load_pretrained(
    model: Classifier | UNet,
    source: str,
    *,
    channels: int = 4,
    image_size: int = 512,
    stem: str = "copy_red",
    seed: int = 0,
    cache: str | Path | None = None,
) -> dict:
    """The variables of `model`, with a backbone that others have trained.

    What the file has no values for, such as a head for other labels, is drawn from `seed`. A linear
    head is taken as well where the file has one for as many labels, and an export's head where all
    its shapes agree. Of a ConvNeXt's own head, `norm_linear`, the norm is taken for other labels,
    too. A U-Net's encoder is such a backbone, and its decoder is what is drawn.

        model = hpa_jax.create_model("densenet121", head="pooled", num_labels=28)
        variables = hpa_jax.load_pretrained(model, "torchvision_densenet121")
        logits = model.apply(variables, images, train=False)

    Images have to be normalized as in the weights' training: `SOURCES[source].mean` and `.std`, for
    the first three of the channels.

    Args:
      model: as made by `hpa_jax.create_model` or `hpa_jax.create_unet`.
      source: a file (`.pth`, `.ckpt`, `.safetensors`, `.h5`, `.weights.h5`, told apart by
        content), an index of several (`.index.json`), the folder of an export or of such an index,
        or a name of `hpa_jax.pretrained.SOURCES`, which is downloaded once.
      channels: of the images, of which the first three are taken as red, green, blue.
      image_size: height and width of the images, px. It shapes a head that flattens, and no other.
      stem: one of `hpa_jax.pretrained.STEMS`: how filters for three channels become filters for
        `channels`.
      seed: of the values that are drawn.
      cache: folder of downloads; None: $HPA_CACHE, else `hpa_jax` in the user's cache folder.

    Returns:
      `{'params': ..., 'batch_stats': ...}`, nested dicts of `numpy float32`, as `model.apply`
      takes.

    Raises:
      InputError: the file cannot be had or read, is of another net, lacks an array or has one of
        another shape; or the model does not take images of this size.

    References:
      `copy_red`: the challenge's first place,
      https://github.com/CellProfiling/HPA-competition-solutions; `repeat`: timm,
      https://github.com/huggingface/pytorch-image-models
    """
    image_shape = (image_size, image_size, channels)
    # A U-Net takes images of any size.
    if isinstance(model, Classifier):
        check_size(model, image_shape)
    variables = init_variables(model, image_shape, seed)
    loaded, _ = load_described(
        source,
        net=model.backbone,
        variables=variables,
        stem=stem,
        cache=None if cache is None else local_path(cache, "cache"),
    )
    return loaded


def load_described(
    source: str, *, net: str, variables: dict, stem: str, cache: Path | None = None
) -> tuple[dict, Loaded]:
    """Puts what `source` has in place of a net's drawn values, and describes what was done.

    Args:
      source: as of `load_pretrained`.
      net: one of hpa_jax.models.BACKBONES.
      variables: `{'params', 'batch_stats'}` as `init_variables` draws them; what is not replaced
      stays.
      stem: one of STEMS.
      cache: folder of downloads; None: $HPA_CACHE or the user's.

    Returns:
      A new tree of `numpy float32`, of the same structure and shapes, and its description.

    Raises:
      InputError: names the file, the array, and what to do.
    """
    check_stem(stem)
    path, sha256, published, parts = locate(source, net, cache)
    layout, arrays, inside = read(path)
    drawn = _flatten(variables)
    backbone = [name for name in drawn if name.split("/")[1] == "backbone"]
    keys = match(arrays, layout, net, backbone, path, published is not None)

    taken = {}
    for name, key in keys.backbone.items():
        taken[name] = _values(arrays[key], layout, path, key)
    first = f"params/backbone/{_FIRST_CONVOLUTION.get(net, 'stem_conv')}/kernel"
    is_bgr = published is not None and published.order == "bgr"
    taken[first], stem_done = _first_convolution(taken[first], drawn[first].shape, stem, is_bgr)
    for name, key in keys.backbone.items():
        taken[name] = _reshaped(taken[name], drawn[name].shape, path, key)

    head = {}
    for name, key in keys.head.items():
        head[name] = _values(arrays[key], layout, path, key)
    head_done = "none"
    if head:
        drawn_head = {name: drawn[name] for name in drawn if name.split("/")[1] == "head"}
        head_done = "left"
        norm = {name: array for name, array in head.items() if name.startswith(_HEAD_NORM)}
        if _shapes(head) == _shapes(drawn_head):
            taken |= head
            head_done = "taken"
        elif norm and _shapes(norm).items() <= _shapes(drawn_head).items():
            # It belongs to the features more than to the labels.
            taken |= norm
            head_done = "its norm taken"

    loaded = Loaded(
        source=source,
        file=path.name,
        sha256=sha256,
        layout=layout,
        arrays=len(taken),
        head=head_done,
        stem=stem_done,
        mean=published.mean if published else (),
        std=published.std if published else (),
        licence=published.licence if published else "",
        inside=inside,
        prefix=keys.prefix,
        parts=dict(parts),
    )
    return _unflatten(drawn | taken, like=variables), loaded


def _values(array: np.ndarray, layout: str, path: Path, key: str) -> np.ndarray:
    """An array of the file as float32, inputs before outputs: `[h, w, in, out]`, `[in, out]`."""
    # bfloat16 is a type of ml_dtypes, which NumPy does not count among its floats.
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
        raise InputError(
            f"{path}: {key} is of {array.dtype}, not of a float type; give another file"
        )
    array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{path}: {key} holds a value that is not finite; give another file")
    if layout == "torch" and array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    elif layout == "torch" and array.ndim > 1:
        array = array.T
    return np.ascontiguousarray(array)


def _first_convolution(
    kernel: np.ndarray, shape: tuple[int, ...], stem: str, is_bgr: bool
) -> tuple[np.ndarray, str]:
    """The kernel for the net's channels, and what was done."""
    done = "first convolution as in the file"
    # An array of another rank is refused with the others, by its shape.
    if kernel.ndim != 4:
        return kernel, done
    if is_bgr:
        kernel = kernel[:, :, ::-1]
        done = "first convolution reordered from blue, green, red to red, green, blue"
    channels = shape[2]
    if kernel.shape[2] == COLORS != channels:
        kernel = inflate(kernel, channels, stem)
        done = f"{done}, made to take {channels} channels ({stem})"
    return kernel, done


def _reshaped(array: np.ndarray, shape: tuple[int, ...], path: Path, key: str) -> np.ndarray:
    """As the net has it: a 1x1 convolution is a matrix there."""
    is_pointwise = array.shape[:2] == (1, 1) and array.shape[2:] == shape
    if array.shape != shape and not is_pointwise:
        raise InputError(
            f"{path}: {key} has the shape {array.shape} (inputs before outputs) where the net has "
            f"{shape}; set config.model.name and config.data.channel_mix to what the file is for, "
            "or give another file"
        )
    return np.ascontiguousarray(array.reshape(shape))


def _shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _flatten(tree: Mapping, prefix: str = "") -> dict[str, np.ndarray]:
    """`{'a': {'b': array}}` as `{'a/b': array}`."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _unflatten(flat: Mapping[str, np.ndarray], like: Mapping, prefix: str = "") -> dict:
    """The inverse of `_flatten`, in the order of `like` and with its empty parts."""
    tree = {}
    for name, value in like.items():
        if isinstance(value, Mapping):
            tree[name] = _unflatten(flat, value, f"{prefix}{name}/")
        else:
            tree[name] = flat[f"{prefix}{name}"]
    return tree
