"""The corpus of awkward files through the builder: each is read exactly, or is a fault in one line.

Each is an image's only channel: green.
"""

import numpy as np
import pytest
from support.awkward_files import awkward_files

from hpa_jax.errors import InputError
from tfds_builder.hpa.files import layouts
from tfds_builder.hpa.sources import Fault

FILES = {file.name: file for file in awkward_files()}


@pytest.mark.parametrize("name", FILES)
def test_each_is_right_or_a_fault(name, tmp_path, capfd):
    file = FILES[name]
    (tmp_path / f"{name}_g.tif").write_bytes(file.data)
    (tmp_path / "labels.csv").write_text(f'Id,Target\n"{name}",3\n')
    arguments = {"pattern": "{id}_{channel}.tif", "channels": {"green": "g"}}
    try:
        faults, pixels = attempt(layouts.folder(tmp_path, **arguments))
    except InputError as error:
        # What the file says of white is asked about, and answered as proposed.
        assert str(error).endswith("give --white=4095, or another")
        if file.pixels is None:
            return
        faults, pixels = attempt(layouts.folder(tmp_path, **arguments, white=4095))
    if file.pixels is None:
        (fault,) = faults
        assert fault.id == name and fault.file == str(tmp_path / f"{name}_g.tif")
        assert "; " in fault.reason and "\n" not in str(fault) and str(fault).isprintable()
    else:
        assert not faults, faults
        np.testing.assert_array_equal(pixels[..., 1], file.pixels)
        assert not pixels[..., (0, 2, 3)].any()
    assert capfd.readouterr().err == ""


def attempt(source):
    listing = source.examples()
    if listing.faults:
        return listing.faults, None
    try:
        return [], source.image(listing.examples[0])
    except Fault as fault:
        return [fault], None
