"""Which files of a request make which images.

Four ways to send them: parts named by channel; one file with all channels; a zip; or several files
whose names say what they are, as in a folder.
"""

from collections.abc import Sequence

from hpa_jax.images.folder import ImageFolder, find_in_store
from hpa_jax.images.listing import list_images
from hpa_jax.images.rule import Rule
from hpa_jax.labels import CHANNELS
from hpa_jax.serving.server.archive import ZIP, Archive, Parts, checked_name
from hpa_jax.serving.server.body import Part
from hpa_jax.serving.server.limits import Limits
from hpa_jax.serving.server.options import Options
from hpa_jax.serving.server.refusal import Refusal


def find_uploaded(
    parts: Sequence[Part],
    missing: tuple[str, ...],
    rule: Rule,
    options: Options,
    limits: Limits,
) -> ImageFolder:
    """Finds the images; reads none of them.

    Args:
      parts: the files, at least one.
      missing: channels that are black in every image.
      rule: which files are accepted.
      options: of the request.
      limits: of the server.

    Raises:
      Refusal: the zip is none that is read, or a channel is missing.
      InputError: as `find_in_store`.
    """
    names = {part.name for part in parts}
    if names & set(CHANNELS):
        store, files = _by_channel(parts, missing)
        return _single(store, files, missing, rule, options)
    if len(parts) > 1:
        store = _by_file_name(parts)
    elif parts[0].data.startswith(ZIP):
        store = Archive(parts[0].data, limits)
    else:
        store = Parts({"image": parts[0].data})
        return _single(store, ("image",), missing, rule, options)
    return find_in_store(
        store,
        list_images(store),
        "the request",
        pattern=options.pattern,
        channels=options.channels,
        order=options.order,
        missing=missing,
        rule=rule,
    )


def _single(
    store: Parts,
    files: tuple[str | None, ...],
    missing: tuple[str, ...],
    rule: Rule,
    options: Options,
) -> ImageFolder:
    return ImageFolder(
        where="the image",
        layout="",
        ids=[""],
        files=[files],
        missing=missing,
        channels=options.channels,
        order=options.order,
        rule=rule,
        images=store,
    )


def _by_channel(parts: Sequence[Part], missing: Sequence[str]) -> tuple[Parts, tuple]:
    """The files of a form whose parts are named by channel."""
    files: dict[str, bytes] = {}
    for part in parts:
        if part.name not in CHANNELS:
            raise Refusal(
                422,
                f"there is no channel {part.name!r}; name the parts {', '.join(CHANNELS)}, or send "
                "one file as 'image'",
            )
        if part.name in files:
            raise Refusal(422, f"two parts are named {part.name!r}; send one image at a time")
        files[part.name] = part.data
    lacking = [name for name in CHANNELS if name not in files and name not in missing]
    if lacking:
        raise Refusal(
            422,
            f"no part {' and no part '.join(lacking)}, which the net was trained on; send it, or "
            f"ask for black with ?missing={','.join(lacking)}",
        )
    return Parts(files), tuple(name if name in files else None for name in CHANNELS)


def _by_file_name(parts: Sequence[Part]) -> Parts:
    """The files of a form, as if they lay in a folder."""
    files: dict[str, bytes] = {}
    for part in parts:
        name = checked_name(part.file_name)
        if not name or name in files:
            raise Refusal(
                422,
                "two files have one name, or none; name the parts by channel: "
                f"{', '.join(CHANNELS)}",
            )
        files[name] = part.data
    return Parts(files)
