"""The sources of the page, joined: small files of plain JavaScript, in the order given here.

There is no bundler: a file uses what those before it define.
"""

from importlib import resources

ENGINE = (
    "refused.js",
    "crc32.js",
    "inflate.js",
    "exif.js",
    "png.js",
    "jpg_bands.js",
    "jpg_scans.js",
    "jpg.js",
    "formats.js",
    "resize.js",
    "channel_plane.js",
    "reading.js",
    "prepare.js",
    "net.js",
    "unpack.js",
    "worker.js",
)
"""What the page's thread runs."""

APP = (
    "elements.js",
    "naming.js",
    "dropping.js",
    "settings.js",
    "verdict.js",
    "pictures.js",
    "csv.js",
    "label_table.js",
    "field_view.js",
    "field_list.js",
    "about.js",
    "local_scorer.js",
    "remote_scorer.js",
    "main.js",
)
"""What the page itself runs."""


def engine_script() -> str:
    """The script of the thread that reads images and runs the net."""
    return _joined("engine", ENGINE)


def app_script() -> str:
    """The script of the page, an ES module."""
    return _joined("app", APP)


def source(name: str) -> str:
    """The text of a file in sources/."""
    return (resources.files(__package__) / "sources" / name).read_text(encoding="utf-8")


def _joined(folder: str, names: tuple[str, ...]) -> str:
    texts = [source(f"{folder}/{name}") for name in names]
    return '"use strict";\n' + "\n".join(texts)
