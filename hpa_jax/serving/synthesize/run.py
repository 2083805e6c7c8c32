"""--mode=synthesize: a run's net makes channels of a dataset's split, or of a folder of images."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.evaluation.channel_figures import markdown
from hpa_jax.evaluation.synthesizer import Synthesizer
from hpa_jax.files import exclusive_lock, write_json
from hpa_jax.images.prepare import Preparation
from hpa_jax.images.square import lossless_aspect
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.description import describe_preparation
from hpa_jax.serving.predict import arguments
from hpa_jax.serving.predict.request import Request
from hpa_jax.serving.synthesize import figures
from hpa_jax.serving.synthesize.filling import shown_sources
from hpa_jax.serving.synthesize.images import (
    FolderImages,
    Images,
    SplitImages,
    folder_of,
)
from hpa_jax.serving.synthesize.making import make_pictures
from hpa_jax.serving.synthesize.pictures import Pictures
from hpa_jax.transforms.channel_subsets import parse_channels

FOLDER = "synthesized"


def synthesize(config: Config, workdir: Path, out: Path | None = None) -> None:
    """Makes channels and writes them to OUT/synthesized, with figures where the truth is there.

    Args:
      config: of the run; `config.channels.fill` names the channels, and `config.predict` the folder
        of images, if it is not `config.data.eval_split` of the dataset.
      workdir: of the run, which is only read.
      out: holds the folder of the pictures; None: `workdir`.

    Raises:
      InputError: anything that another call or other files put right.
    """
    synthesizer = Synthesizer(config, workdir)
    config = synthesizer.config
    images = open_images_of(synthesizer)
    wanted = wanted_channels(config, images, synthesizer.targets)
    shown = shown_sources(synthesizer, wanted, images.missing)
    # Reading it may choose another checkpoint, of which all that follows is then said.
    _ = synthesizer.variables
    settings = {
        "checkpoint": [synthesizer.step, str(synthesizer.written)],
        "images": images.version,
        "channels": [wanted, shown],
    }
    folder = (out or workdir) / FOLDER
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = exclusive_lock(
        folder.with_name(f"{FOLDER}.lock"),
        busy=f"{folder} is being written",
        advice="wait for it, or choose another --out",
    )
    with lock:
        pictures = Pictures(folder, settings, folder_of(config))
        print(
            f"{images.where}: {len(images.ids)} images, {', '.join(wanted)} from "
            f"{', '.join(shown)}, by checkpoint {synthesizer.step} of {workdir}"
        )
        make_pictures(
            synthesizer,
            images,
            pictures,
            wanted,
            shown,
            batch=config.data.batch_size,
            threads=config.data.threads,
        )
        net = f"{workdir.resolve().name}, checkpoint {synthesizer.step}"
        table = pictures.write_table(images.ids, wanted, shown, net)
        print(f"wrote {len(images.ids) * len(wanted)} pictures to {folder}, listed in {table.name}")
        rows = figures.rows_of_figures(config, images, pictures, wanted, shown)
        if not rows:
            print("no figures: none of these channels was imaged")
            return
        write_json(folder / "figures.json", {"rows": rows})
    print(f"\nwhere they were imaged, in squares of {synthesizer.size} px:\n\n{markdown(rows)}")


def open_images_of(synthesizer: Synthesizer) -> Images:
    """The images that the configuration names.

    Raises:
      InputError: there are none, or they lack a channel.
    """
    config = synthesizer.config
    settings = config.predict
    if not settings.images:
        return SplitImages(config)
    if settings.policy != "strict":
        raise InputError(
            f"config.predict.policy={settings.policy}: --mode=synthesize stops at an image that "
            "cannot be read; leave the image out, and the setting too"
        )
    data = config.data
    described = describe_preparation(
        dataclasses.replace(data, channel_mix=",".join(CHANNELS)), synthesizer.preparations()
    )
    size = ["B", synthesizer.size, synthesizer.size, len(CHANNELS)]
    preparation = Preparation.from_description({"input": {"shape": size}, "preparation": described})
    preparation = dataclasses.replace(
        preparation, aspect=lossless_aspect(data.aspect), channels=CHANNELS
    )
    missing = _given(arguments.missing_flag, settings.missing) or ()
    useful = {*synthesizer.sources, *synthesizer.targets}
    request = Request(
        images=Path(settings.images),
        out=Path(FOLDER),
        pattern=settings.pattern or None,
        channels=_given(arguments.channels_flag, settings.channels),
        order=_given(arguments.order_flag, settings.order),
        missing=(*missing, *(name for name in CHANNELS if name not in useful)),
        follow_links=settings.follow_links,
        white=settings.white or None,
        projection=settings.projection,
        float_range=_given(arguments.float_range_flag, settings.float_range),
        pixel_size=settings.pixel_size or None,
    )
    wanted = ()
    if config.channels.fill:
        wanted = parse_channels(config.channels.fill, "config.channels.fill")
    return FolderImages(request, preparation, wanted)


def _given(parse: Callable, text: str):
    return parse(text) if text else None


def wanted_channels(config: Config, images: Images, targets: Sequence[str]) -> tuple[str, ...]:
    """The channels to make: those that are named, or those that were not imaged.

    Raises:
      InputError: none is named and none is missing.
    """
    if config.channels.fill:
        return parse_channels(config.channels.fill, "config.channels.fill")
    missing = tuple(name for name in images.missing if name in targets)
    if not missing:
        raise InputError(
            f"{images.where}: no channel is missing that the run can make; name what to make: "
            f"--config.channels.fill={targets[-1]}"
        )
    return missing
