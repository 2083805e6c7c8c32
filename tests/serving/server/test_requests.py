"""What is answered to what: over HTTP, by a real server."""

import io
import json
import zipfile

import numpy as np
import pytest
import requests
from support.exports import tiny_export
from support.http_server import Server, exchange, head, until
from support.image_files import encoded

from hpa_jax.images.folder import find_images
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS
from hpa_jax.serving import load

SHAPE = (48, 40)


def image_files(seed: int) -> dict[str, bytes]:
    values = np.random.default_rng(seed)
    return {name: encoded(values.integers(0, 256, SHAPE, np.uint8), "PNG") for name in CHANNELS}


def zipped(files: dict[str, bytes], method=zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


@pytest.fixture(scope="module")
def fields() -> dict[str, bytes]:
    """Three images as files in a folder have names."""
    files = {}
    for number in range(3):
        for channel, data in image_files(number).items():
            files[f"plate 1/é{number}_{channel}.png"] = data
    return files


@pytest.fixture(scope="module")
def expected(export, fields, tmp_path_factory) -> np.ndarray:
    """Probabilities of `fields`, without any server."""
    folder = tmp_path_factory.mktemp("fields")
    for name, data in fields.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    net = load(export, backend="onnx")
    preparation = Preparation.from_description(net.description)
    images = find_images(folder)
    prepared = [preparation.prepare(images.read(i)[0]) for i in range(len(images))]
    return net.run(np.stack(prepared), ("probabilities",))["probabilities"]


def ask(server, path="/v1/predict", **what) -> requests.Response:
    return requests.post(server.url + path, timeout=60, **what)


def scores_of(answer: requests.Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    rows = answer.json()["images"]
    return np.array([[label["probability"] for label in row["labels"]] for row in rows])


def refusal(answer: requests.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    (text,) = answer.json().values()
    assert text and "\n" not in text and "Traceback" not in text
    return text


def test_files_named_by_channel(server, fields, expected):
    files = {name: fields[f"plate 1/é1_{name}.png"] for name in CHANNELS}
    answer = ask(server, files=files)
    np.testing.assert_allclose(scores_of(answer), expected[1:2], atol=1e-5)
    (row,) = answer.json()["images"]
    for label in row["labels"]:
        assert label["predicted"] == (label["probability"] > label["threshold"])
    assert row["missing"] == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("form", ["zip", "file", None])
def test_a_zip_of_several_images(server, fields, expected, method, form):
    packed = zipped(fields, method)
    if form:
        answer = ask(server, files={form: packed})
    else:
        answer = ask(server, data=packed)
    np.testing.assert_allclose(scores_of(answer), expected, atol=1e-5)
    assert [row["id"] for row in answer.json()["images"]] == ["é0", "é1", "é2"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_files_of_one_name(server, fields):
    """One of them would be scored, and nobody would know which."""
    packed = io.BytesIO(zipped(fields))
    name = next(iter(fields))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"other")
    assert name in refusal(ask(server, data=packed.getvalue()), 422)


def test_a_zip_whose_names_have_backslashes(server, fields, expected):
    packed = zipped({name.replace("/", "\\"): data for name, data in fields.items()})
    np.testing.assert_allclose(scores_of(ask(server, data=packed)), expected, atol=1e-5)


def test_loose_files_are_known_by_their_names(server, fields, expected):
    files = [("files", (name, data)) for name, data in fields.items()]
    np.testing.assert_allclose(scores_of(ask(server, files=files)), expected, atol=1e-5)


def test_one_file_with_all_channels(server, fields, expected):
    import tifffile
    from PIL import Image

    planes = [Image.open(io.BytesIO(fields[f"plate 1/é0_{name}.png"])) for name in CHANNELS]
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, np.stack(planes)[[2, 0, 3, 1]], photometric="minisblack")
    order = "blue,red,yellow,green"
    for what in ({"files": {"image": tiff.getvalue()}}, {"data": tiff.getvalue()}):
        answer = ask(server, f"/v1/predict?order={order}", **what)
        np.testing.assert_allclose(scores_of(answer), expected[:1], atol=1e-5)
    # The same as a field of the form.
    answer = ask(server, files={"image": tiff.getvalue()}, data={"order": order})
    np.testing.assert_allclose(scores_of(answer), expected[:1], atol=1e-5)
    text = refusal(ask(server, files={"image": tiff.getvalue()}), 422)
    assert "order" in text and "--" not in text


def test_missing_channels_are_black_and_said(server, field):
    text = refusal(ask(server, files={"green": field["green"]}), 422)
    assert "?missing=red,blue,yellow" in text
    answer = ask(server, "/v1/predict?missing=red,blue,yellow", files={"green": field["green"]})
    scores = scores_of(answer)
    assert answer.json()["images"][0]["missing"] == ["red", "blue", "yellow"]
    black = encoded(np.zeros(SHAPE, np.uint8), "PNG")
    files = {name: black for name in CHANNELS} | {"green": field["green"]}
    np.testing.assert_array_equal(scores, scores_of(ask(server, files=files)))


@pytest.mark.slow
def test_a_channel_that_the_net_does_not_use_is_not_missing(tmp_path, field):
    export = tiny_export(tmp_path / "export", data__channel_mix="green")
    green_only = Server(export).wait()
    try:
        answer = ask(green_only, files={"green": field["green"]})
        with_all = ask(green_only, files=field)
        refused = ask(green_only, files={"red": field["red"]})
    finally:
        green_only.stop()
    np.testing.assert_array_equal(scores_of(answer), scores_of(with_all))
    assert answer.json()["images"][0]["missing"] == []
    assert "green" in refusal(refused, 422)


def test_further_outputs(server, export, field):
    model = requests.get(server.url + "/v1/model", timeout=60).json()
    assert model["export"]["outputs"] == list(load(export, backend="onnx").outputs)
    assert model["limits"]["body_bytes"] == 4 * 2**20
    answer = ask(server, "/v1/predict?outputs=embedding", files=field)
    embedding = answer.json()["images"][0]["embedding"]
    assert len(embedding) > 1 and np.isfinite(embedding).all()
    assert "gradient" in refusal(ask(server, "/v1/predict?outputs=gradient", files=field), 422)


@pytest.mark.parametrize(
    "query, words",
    [
        ("missing=green", "green is the protein"),
        ("missing=pink", "?missing=pink"),
        ("white=0", "?white=0"),
        ("white=nan", "?white=nan"),
        ("pixel_size=inf", "?pixel_size=inf"),
        ("order=red,red", "?order=red,red"),
        ("channels=red", "red"),
        ("projection=sum", "?projection=sum"),
        ("policy=maybe", "strict, skip"),
        ("missing=red&missing=blue", "?missing is given twice"),
        ("colour=1", "there is no option 'colour'"),
        ("pattern={id}", ""),
    ],
)
def test_options_are_checked_before_the_body_is_read(server, fields, query, words):
    text = refusal(ask(server, f"/v1/predict?{query}", data=zipped(fields)), 422)
    assert words in text and "--" not in text


def test_a_faulty_image_refuses_all_or_is_left_out(server, fields, expected):
    name = "plate 1/é1_green.png"
    packed = zipped(fields | {name: fields[name][:300]})
    text = refusal(ask(server, data=packed), 422)
    assert text.startswith(f"é1: {name} ")
    answer = ask(server, "/v1/predict?policy=skip", data=packed)
    good, bad, other = answer.json()["images"]
    assert bad == {"id": "é1", "error": text}
    scores = [[label["probability"] for label in row["labels"]] for row in (good, other)]
    np.testing.assert_allclose(scores, expected[[0, 2]], atol=1e-5)


@pytest.mark.parametrize(
    "what, status, words",
    [
        ({"data": b""}, 422, "no file"),
        ({"data": b"rubbish"}, 422, "not a PNG"),
        ({"json": {}}, 422, "not a PNG"),
        ({"data": {"green": "text"}}, 422, "PNG"),
        ({"files": {"image": b""}}, 422, "empty"),
        ({"data": b"--x\r\nrubbish", "headers": {"Content-Type": "multipart/form-data"}}, 400,
         "form"),
        ({"data": b"--x\r\nrubbish",
          "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, "form"),
        ({"data": b"PK\x03\x04" + bytes(100)}, 422, "zip is damaged"),
        ({"data": b"PK\x05\x06" + bytes(18)}, 422, "zip"),
        ({"data": bytes(5 * 2**20)}, 413, "--max-body"),
        ({"files": [("x", (f"{i}.png", b"1")) for i in range(600)]}, 413, "512"),
        ({"data": b"--x\r\nContent-Disposition: form-data; name=order\r\n\r\n\xff\r\n--x--",
          "headers": {"Content-Type": "multipart/form-data; boundary=x; charset=undefined"}}, 400,
         "charset"),
    ],
    ids=[
        *("nothing", "rubbish", "JSON", "text for a file", "an empty file", "no boundary"),
        *("a form cut short", "half a zip", "an empty zip", "too large", "too many files"),
        "a charset that is none",
    ],
)  # fmt: skip
def test_bodies_that_are_none(server, what, status, words):
    assert words in refusal(ask(server, **what), status)


def test_parts_that_do_not_fit_together(server, field):
    twice = [("green", ("a", field["green"])), ("green", ("b", field["green"]))]
    assert "two parts" in refusal(ask(server, files=twice), 422)
    assert "'pink'" in refusal(ask(server, files=field | {"pink": field["red"]}), 422)
    small = encoded(np.zeros((8, 8), np.uint8), "PNG")
    assert "8 x 8" in refusal(ask(server, files=field | {"red": small}), 422)


def test_other_paths_and_methods(server):
    assert "/v1/predict" in refusal(requests.get(server.url + "/v1", timeout=60), 404)
    assert refusal(requests.get(server.url + "/metrics", timeout=60), 404)
    answer = requests.get(server.url + "/v1/predict", timeout=60)
    assert "POST" in refusal(answer, 405) and answer.headers["Allow"] == "POST"
    answer = requests.options(server.url + "/v1/predict", timeout=60)
    refusal(answer, 405)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    sent = head("/../../etc/passwd", "GET", Connection="close")
    assert exchange(server, sent).startswith(b"HTTP/1.1 404 ")
    assert requests.get(server.url + "/healthz", timeout=60).text == "ok\n"
    assert requests.get(server.url + "/readyz", timeout=60).text == "ok\n"


def test_metrics_are_at_a_port_of_their_own(server, field):
    def count(line: str) -> float:
        text = requests.get(server.metrics_url, timeout=60).text
        found = [row for row in text.splitlines() if row.startswith(line + " ")]
        return float(found[0].split()[-1]) if found else 0

    answered = 'hpa_requests_total{path="/v1/predict",status="200"}'
    before = count(answered), count("hpa_images_total")
    scores_of(ask(server, files=field))
    assert (count(answered), count("hpa_images_total")) == (before[0] + 1, before[1] + 1)
    requests.get(server.url + "/passwords.txt", timeout=60)
    text = requests.get(server.metrics_url, timeout=60).text
    assert "passwords" not in text and 'path="other"' in text
    base = server.metrics_url.removesuffix("/metrics")
    assert requests.post(base + "/v1/predict", timeout=60).status_code == 404
    until(lambda: count("hpa_requests_in_work") == 0, "nothing is left in work")
    assert count("hpa_upload_bytes") == 0


def test_the_page_and_headers_for_browsers(server):
    answer = requests.get(server.url + "/", timeout=60)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "Server" not in answer.headers


def test_the_log_has_nothing_of_a_client(server, fields):
    name = "plate 1/é1_green.png"
    refusal(ask(server, data=zipped(fields | {name: b"secret"})), 422)
    refusal(ask(server, "/v1/secret", data=b""), 404)
    assert "plate" not in server.log() and "secret" not in server.log()
    assert json.dumps(server.log()).count("\\n") <= 4
