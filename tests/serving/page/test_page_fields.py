"""The page from disk in a real browser: fields go in, labels, pictures and a table come out."""

import base64
import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support.image_files import encoded, sample, smooth
from support.page_nets import description, small_net
from support.page_use import IS_DONE, Page
from support.written_files import png

from hpa_jax.images.folder import find_images
from hpa_jax.images.prepare import Preparation
from hpa_jax.labels import CHANNELS, LABELS
from hpa_jax.serving.page.render import Net, render
from hpa_jax.serving.page.weights import halve
from hpa_jax.serving.predict.tables.content import FIRST_COLUMNS, LAST_COLUMNS

SIZE = 64
# What tells the element that has the focus from others.
FOCUSED = """(() => {
  const focused = document.activeElement;
  return focused.id || focused.dataset.view || focused.classList[0];
})()"""


@pytest.fixture(scope="module")
def make_page(browser, runtime, tmp_path_factory):
    """Makes a page of the small net and opens it."""

    def make(size=SIZE, maps=True, half=False, **more):
        model = small_net(size, maps=maps)
        if half:
            model = halve(model)
        path = tmp_path_factory.mktemp("page") / "page.html"
        html = render(description(size, **more), "file", net=Net(runtime, model))
        path.write_text(html, encoding="utf-8")
        return Page(browser, path)

    return make


@pytest.fixture(scope="module")
def usual_page(make_page):
    return make_page()


@pytest.fixture
def page(usual_page):
    """The page of the net as it is; in its tab others may have been opened meanwhile."""
    usual_page.show()
    return usual_page


@pytest.fixture
def field(tmp_path):
    """The files of a field that is drawn here."""
    for number, channel in enumerate(CHANNELS):
        image = smooth((100, 100), seed=number)
        (tmp_path / f"A1_{channel}.png").write_bytes(png(image, 8))
    return [tmp_path / f"A1_{channel}.png" for channel in CHANNELS]


def expected_scores(folder, size=SIZE, missing=(), **more):
    """What the reader, the preparation and ONNX Runtime make of a folder with one field."""
    images = find_images(folder, missing=missing)
    pixels, facts = images.read(0)
    prepared = Preparation.from_description(description(size, **more)).prepare(pixels)
    session = onnxruntime.InferenceSession(small_net(size))
    return session.run(["probabilities"], {"images": prepared[None]})[0][0]


def test_a_field_is_scored_as_onnx_runtime_does(page, field):
    page.choose(*field)
    scores, found = page.scores()
    expected = expected_scores(field[0].parent)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.ptp(expected) > 0.5, "the net says the same of all labels"
    thresholds = np.array(description(SIZE)["thresholds"], np.float32)
    np.testing.assert_array_equal(found, expected > thresholds)


def test_the_page_requests_nothing_but_itself(page):
    own = [url for url in page.tab.requests if not url.startswith("blob:null/")]
    assert own == [page.place.as_uri()]
    assert page.tab.complaints == []
    # Whoever wanted to could not: the policy forbids it, and the browser says so.
    refused = page.tab.value("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
    assert refused == "refused"
    assert any("Content Security Policy" in text for text in page.tab.complaints)
    page.tab.complaints.clear()


def test_labels_say_how_sure_they_are(page, field):
    page.clear()
    page.choose(*field)
    scores, found = page.scores()
    verdict = page.text(".verdict")
    calibration = description(SIZE)["calibration"]
    label = int(np.flatnonzero(found)[np.argmax(scores[found])])
    place = min(int(np.ceil(scores[label] * 10)) - 1, 9)
    total = calibration["total"][label][place]
    right = calibration["positives"][label][place]
    if total >= 10:
        assert f"Of {total} test images with such a score for this label, {right} had it" in verdict
    else:
        assert "such scores for any label" in verdict
    for name in np.array(LABELS)[found]:
        assert name in verdict


def test_channels_and_maps_can_be_seen(page, field):
    page.clear()
    page.choose(*field)
    picture = "document.querySelector('canvas.big').toDataURL()"
    seen = {page.tab.value(picture)}
    for channel in CHANNELS:
        page.click(f"[data-view={channel}]")
        seen.add(page.tab.value(picture))
    assert len(seen) == 5
    page.click("[data-label]")
    assert page.tab.value(picture) not in seen
    assert "Orange" in page.text("#picture-caption")


def test_it_is_used_with_keys_alone(page, field):
    page.clear()
    page.choose(*field)
    page.tab.value("document.querySelector('.skip').focus()")
    seen = ["skip"]
    for _ in range(40):
        page.press("Tab")
        seen.append(page.tab.value(FOCUSED))
    wanted = ["skip", "files", "folder", "download", "clear", "open", "all", "yellow", "bright"]
    assert [name for name in dict.fromkeys(seen) if name in wanted] == wanted
    page.tab.value("document.querySelector('[data-label]').focus()")
    page.press("Enter")
    assert page.tab.value("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_files_can_be_dropped(page, field):
    page.clear()
    texts = {path.name: base64.b64encode(path.read_bytes()).decode() for path in field}
    page.tab.value(
        f"{{ const transfer = new DataTransfer(); const texts = {json.dumps(texts)};"
        "for (const [name, text] of Object.entries(texts)) {"
        "  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));"
        "  transfer.items.add(new File([bytes], name)); }"
        "document.getElementById('drop').dispatchEvent("
        "  new DragEvent('drop', { bubbles: true, dataTransfer: transfer })); }"
    )
    page.tab.until(IS_DONE)
    scores, _ = page.scores()
    np.testing.assert_allclose(scores, expected_scores(field[0].parent), atol=1e-5)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_cut_off_on_any_screen(page, field, width):
    page.tab.open(page.place, width=width, dark=width == 360)
    page.tab.until("document.documentElement.dataset.ready === 'yes'")
    page.choose(*field)
    page.click("#settings summary")
    page.click("#about summary")
    page.click(".more")
    assert page.tab.value("document.documentElement.scrollWidth") <= width
    # A finger needs some 24 px.
    small = page.tab.value(
        "[...document.querySelectorAll('button, summary, .button, input')]"
        ".filter((e) => e.offsetHeight && e.type !== 'file' && e.type !== 'checkbox')"
        ".filter((e) => e.offsetHeight < 24 || e.offsetWidth < 24).length"
    )
    assert small == 0


def test_a_net_without_maps_says_so(make_page, field):
    page = make_page(maps=False)
    page.choose(*field)
    assert "the head of this net has no map" in page.text("#field")
    assert page.tab.value("document.querySelectorAll('[data-label]').length") == 0


def test_where_an_image_has_one_label_it_is_the_most_probable(make_page, field):
    page = make_page(maps=False, decision="argmax", thresholds=None, thresholds_fitted_on=None)
    page.choose(*field)
    scores, found = page.scores()
    assert np.flatnonzero(found).tolist() == [scores.argmax()]
    assert "The most probable label" in page.text("#field")
    assert "hreshold" not in page.text("#field") + page.text("#about-text")


def test_several_fields_and_their_table(page, tmp_path):
    page.clear()
    files = []
    for name in ("A1", "=B2", "C3"):
        for number, channel in enumerate(CHANNELS):
            path = tmp_path / f"{name}_{channel}.png"
            path.write_bytes(png(smooth((70, 90), seed=number + len(name)), 8))
            files.append(path)
    (tmp_path / "C3_blue.png").write_bytes(files[0].read_bytes()[:99])
    page.choose(*files)
    assert "2 fields scored, 1 not read" in page.text("#status")
    page.tab.value(
        "URL.createObjectURL = (blob) => { window.table = blob.text(); return 'data:,'; }"
    )
    page.click("#download")
    rows = list(csv.DictReader(io.StringIO(page.tab.value("window.table"))))
    assert list(rows[0]) == [*FIRST_COLUMNS, *LABELS, *LAST_COLUMNS]
    assert [row["id"] for row in rows] == ["A1", "'=B2", "C3"]
    assert "C3_blue.png is cut short" in rows[2]["note"]
    page.click("[aria-label='Next field']")
    page.tab.until("document.activeElement.ariaLabel === 'Next field'")
    assert "2 of 3" in page.text("#field")
    scores, _ = page.scores()
    found = np.array([float(rows[1][name]) for name in LABELS])
    np.testing.assert_array_equal(found.astype(np.float32), scores.astype(np.float32))


def test_a_missing_channel_is_refused_or_marked(page, field):
    page.clear()
    page.choose(*field[:3])
    assert "has no yellow, which the net was trained on" in page.text("#status")
    page.set("black", True)
    assert "without yellow" in page.text("#field")
    scores, _ = page.scores()
    page.set("black", False)
    expected = expected_scores(field[0].parent, missing=["yellow"])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    page.clear()
    page.choose(field[0], field[2], field[3])
    assert "has no green channel" in page.text("#status")


def test_it_notes_what_predict_notes(make_page, field):
    pixels, _ = find_images(field[0].parent).read(0)
    means = pixels.mean((0, 1)) / 255
    # One a little darker, one a lot; one a lot brighter; one that is missing.
    factors = dict(zip(CHANNELS, (11, 13, 1 / 5, 13), strict=True))
    intensities = {}
    for channel, mean in zip(CHANNELS, means, strict=True):
        intensities[channel] = {"mean": float(mean * factors[channel])}
    page = make_page(preparation={"channels": list(CHANNELS), "intensities": intensities})
    page.tab.value("document.getElementById('black').checked = true")
    page.choose(*field[:3])
    marks = page.tab.value("[...document.querySelectorAll('#field .mark')].map((m) => m.innerText)")
    assert marks == ["without yellow", "beside the training images: green is dark, blue is bright"]


def test_a_channel_that_the_net_does_not_know_is_black(make_page, field):
    trained = ["red", "green", "blue"]
    page = make_page(preparation={"channels": trained})
    page.choose(*field)
    scores, _ = page.scores()
    expected = expected_scores(field[0].parent, missing=["yellow"])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert "without yellow" not in page.text("#field")
    page.clear()
    page.choose(*field[:3])
    np.testing.assert_allclose(page.scores()[0], expected, atol=1e-5)


def test_a_composite_is_three_channels(page, field, tmp_path):
    page.clear()
    planes = [smooth((100, 100), seed=number) for number in range(3)]
    composite = tmp_path / "composite.png"
    composite.write_bytes(encoded(np.dstack(planes), "png"))
    page.choose(composite)
    page.set("black", True)
    scores, _ = page.scores()
    page.set("black", False)
    composite.unlink()
    field[3].unlink()
    expected = expected_scores(tmp_path, missing=["yellow"])
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_green_picture_is_one_channel(page, tmp_path):
    page.clear()
    image = np.zeros((100, 100, 3), np.uint8)
    image[..., 1] = smooth((100, 100), seed=1)
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(image, "png"))
    page.choose(picture)
    assert "has no red, blue or yellow" in page.text("#status")
    picture.unlink()


def test_values_of_a_camera_are_asked_about(page, tmp_path):
    page.clear()
    files = []
    for number, channel in enumerate(CHANNELS):
        files.append(tmp_path / f"A1_{channel}.png")
        files[-1].write_bytes(png(smooth((64, 64), seed=number, top=3900), 16))
    page.choose(*files)
    assert "4095 for a camera of 12 bits" in page.text("#status")
    page.set("white", "4095")
    assert "1 field scored" in page.text("#status")
    page.set("white", "")


@pytest.mark.slow
def test_halved_parameters_change_little(make_page, field):
    page = make_page(half=True)
    page.choose(*field)
    scores, _ = page.scores()
    difference = np.abs(scores - expected_scores(field[0].parent)).max()
    assert 0 < difference < 2e-3


@sample
@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 512])
def test_real_fields(make_page, size, tmp_path):
    folder = Path(os.environ["HPA_SAMPLE_DIR"])
    page = make_page(size)
    sources = ("kaggle_512/train/*_red.png", "full_size/images/*_red.png")
    seen = 0
    for pattern in (*sources, "hpav18_jpg/images/*_red.jpg"):
        for first in sorted(folder.glob(pattern))[:6]:
            files = [Path(str(first).replace("_red.", f"_{channel}.")) for channel in CHANNELS]
            one = tmp_path / first.stem
            one.mkdir()
            for file in files:
                (one / file.name).write_bytes(file.read_bytes())
            page.clear()
            page.choose(*files)
            scores, _ = page.scores()
            is_native = size == 512 and pattern.startswith("kaggle")
            tolerance = 1e-5 if is_native else 1e-2
            np.testing.assert_allclose(scores, expected_scores(one, size), atol=tolerance)
            seen += 1
    assert seen >= 10
