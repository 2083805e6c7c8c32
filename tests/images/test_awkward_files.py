"""The corpus of awkward files: each is read exactly, or refused in one line."""

import numpy as np
import pytest
from support.awkward_files import awkward_files

from hpa_jax.images import channel_file
from hpa_jax.images.rule import any_image
from hpa_jax.images.store import Refused

FILES = {file.name: file for file in awkward_files()}


def test_there_are_enough_with_names_of_their_own():
    assert len(FILES) == len(awkward_files()) >= 40


@pytest.mark.parametrize("name", FILES)
def test_each_is_right_or_one_line(name, capfd):
    file = FILES[name]
    if file.pixels is None:
        with pytest.raises(Refused) as error:
            channel_file.read_plane(file.data, any_image(), "green")
        message = str(error.value)
        assert file.words in message, message
        assert "; " in message and message.isprintable()
    else:
        plane = channel_file.read_plane(file.data, any_image(), "green")
        np.testing.assert_array_equal(plane.pixels, file.pixels)
        assert plane.pixels.dtype == np.uint8
    assert capfd.readouterr().err == ""
