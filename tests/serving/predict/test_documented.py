"""The commands of docs/use_the_net.md, run as they stand, over folders like those they name."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.awkward_files import written
from support.exports import tiny_export
from support.image_folders import write_images

from hpa_jax.errors import InputError
from hpa_jax.serving import __main__ as serving

PAGE = Path(__file__).resolve().parents[3] / "docs" / "use_the_net.md"
_COMMAND = re.compile(r"^python -m hpa_jax\.serving ((?:predict|similar) .*)$", re.MULTILINE)


def commands():
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    return _COMMAND.findall(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all that the page speaks of."""
    place = tmp_path_factory.mktemp("documented")
    tiny_export(place / "runs" / "best" / "export")
    ids = [f"plate {plate}/A{well}" for plate in (1, 2) for well in (1, 2, 3)]
    write_images(place / "plates", ids=ids)
    write_images(place / "painted", ids=("A1", "A2"))
    names = dict(zip(("red", "green", "blue", "yellow"), ("w3", "w2", "w1", "w4"), strict=True))
    for path in list((place / "painted").iterdir()):
        image_id, _, channel = path.stem.partition("_")
        path.rename(path.with_name(f"{image_id}{names[channel]}.png"))
    made = write_images(place / "without_er", ids=("A1",))
    (place / "without_er" / "A1_yellow.png").unlink()
    (place / "stacks").mkdir()
    red, green, blue, yellow = np.moveaxis(made["A1"], -1, 0)
    stack = np.stack([blue, green, 255 - green, red, yellow])
    (place / "stacks" / "A1.tif").write_bytes(written(stack, photometric="minisblack"))
    return place


def test_there_are_commands():
    assert len(commands()) >= 8


def test_each_command_runs_as_written(place, monkeypatch, capsys):
    """One after the other, as a reader does: `similar` takes what a command before it wrote."""
    monkeypatch.chdir(place)
    for command in commands():
        words = shlex.split(command)
        assert serving.main(words) == 0, command
        (out,) = [word for word in words if word.startswith("--out=")]
        assert Path(out.removeprefix("--out=")).stat().st_size
    said = capsys.readouterr()
    # Drawn cells are brighter than the training set's; what is missing is not called dark.
    assert "yellow is dark" not in said.err
    first_line = "plates: 6 images, a file a channel, 'plate 1/A1_{channel}' with red, green"
    assert first_line in said.out and first_line in PAGE.read_text(encoding="utf-8")
    assert len(list((place / "overlays").glob("*.png"))) == 6
    shutil.rmtree(place / "overlays")


def test_what_the_reader_wants_stated_is_said_as_a_flag(place, monkeypatch):
    monkeypatch.chdir(place)
    with pytest.raises(InputError, match=r"such as --order=red,green,blue,yellow \(--policy"):
        serving.main(["predict", "runs/best/export", "stacks", "--out=unsaid.csv"])
