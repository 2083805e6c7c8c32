"""The archive of a package: made in memory, the same bytes for the same export, and checked.

Design: nothing of `bioimageio.spec` is needed to write one, and tests validate it with that. What
is checked here is what a user would find out: that each file is the one that rdf.yaml means, and
that its model gives its own test arrays, which are the export's golden ones.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping

import numpy as np

from hpa_jax.errors import InputError
from hpa_jax.serving.bioimage.cover import draw_cover
from hpa_jax.serving.bioimage.description import (
    CARD,
    COVER,
    INPUT,
    MODEL,
    SETTINGS,
    describe_package,
    test_file,
)
from hpa_jax.serving.card.body import body
from hpa_jax.serving.card.facts import Facts
from hpa_jax.serving.onnx.session import open_session
from hpa_jax.serving.served import largest_difference
from hpa_jax.serving.yaml_text import from_yaml, to_yaml

RDF = "rdf.yaml"
# The first moment that an archive can tell: no date of the export is in it.
_NO_DATE = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644 << 16
_UNIX = 3


def make_package(
    facts: Facts, model: bytes, settings: bytes, golden: Mapping[str, np.ndarray]
) -> bytes:
    """An archive of a model and what belongs to it.

    Args:
      facts: of the export.
      model: the bytes of model.onnx.
      settings: the bytes of model.json.
      golden: `images` and outputs by name; the first image is the package's test.

    Raises:
      InputError: as of `check_package`.
    """
    tensors = _test_arrays(model, golden)
    beside = Facts(
        description=facts.description,
        files=(MODEL, SETTINGS),
        evaluation=facts.evaluation,
        why_no_evaluation=facts.why_no_evaluation,
        licence=facts.licence,
        authors=facts.authors,
    )
    files = {
        MODEL: model,
        SETTINGS: settings,
        CARD: body(beside).encode(),
        COVER: draw_cover(),
    }
    for name, array in tensors.items():
        files[test_file(name)] = _npy(array)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    rdf = to_yaml(describe_package(facts, tensors, digests)).encode()
    package = _zip({RDF: rdf, **files})
    check_package(package, facts, golden)
    return package


def _test_arrays(model: bytes, golden: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One image, and what this model gives for it: of 8-bit weights that is not JAX's answer."""
    # Of several threads, sums would depend on the cores of the machine.
    run, outputs = open_session(model, MODEL, threads=1)
    images = golden[INPUT][:1]
    found = run(images, outputs)
    return {INPUT: images, **{name: found[name] for name in outputs}}


def check_package(package: bytes, facts: Facts, golden: Mapping[str, np.ndarray]) -> None:
    """Opens an archive and runs what is in it.

    Args:
      package: its bytes.
      facts: of the export.
      golden: as of `make_package`.

    Raises:
      InputError: a file is not the one that rdf.yaml means, or the model gives something else than
        the test arrays or the golden output.
    """
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    rdf = from_yaml(files[RDF].decode())
    weights = rdf["weights"]["onnx"]
    tensors = [*rdf["inputs"], *rdf["outputs"]]
    for named in (weights, *rdf["attachments"], *(tensor["test_tensor"] for tensor in tensors)):
        if hashlib.sha256(files[named["source"]]).hexdigest() != named["sha256"]:
            raise _wrong(f"{named['source']} has another SHA-256")
    arrays = {}
    for tensor in tensors:
        content = files[tensor["test_tensor"]["source"]]
        arrays[tensor["id"]] = np.load(io.BytesIO(content), allow_pickle=False)
    run, outputs = open_session(files[weights["source"]], MODEL)
    found = run(arrays[INPUT], outputs)
    allowed = facts.description["onnx"]["tolerances"]
    for name in outputs:
        again = _difference(name, found[name], arrays[name], golden)
        # One image is computed in another order than two.
        golden_difference = _difference(name, found[name], golden[name][:1], golden)
        if not (again <= allowed[name] and golden_difference <= 2 * allowed[name]):
            raise _wrong(f"its {name} differ by {max(again, golden_difference):.1e}")


def _difference(
    name: str, found: np.ndarray, expected: np.ndarray, golden: Mapping[str, np.ndarray]
) -> float:
    """How far an output of one image is off, on the scale of all golden images."""
    others = golden[name][1:]
    found = np.concatenate([found, others])
    return largest_difference(name, found, np.concatenate([expected, others]))


def _wrong(reason: str) -> InputError:
    return InputError(
        f"bioimageio.zip is not the net ({reason}); nothing was written; export without it: "
        "--config.export.bioimageio=False"
    )


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(array), allow_pickle=False)
    return content.getvalue()


def _zip(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _NO_DATE)
            entry.create_system = _UNIX
            entry.external_attr = _READABLE
            # Weights hardly shrink, and test arrays are noise.
            is_text = name.endswith((".yaml", ".md", ".json"))
            entry.compress_type = zipfile.ZIP_DEFLATED if is_text else zipfile.ZIP_STORED
            archive.writestr(entry, data)
    return content.getvalue()
