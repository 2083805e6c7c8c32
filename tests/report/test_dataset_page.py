"""The page about a dataset: its numbers, and what a real browser makes of it."""

import base64
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from hpa_jax.config import Config
from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from hpa_jax.report import report
from hpa_jax.report.charts import along, decades, heat_table, histogram_lines, log_bars
from hpa_jax.report.dataset import examples
from hpa_jax.report.dataset.build import by_reason
from hpa_jax.report.dataset.images import moments
from hpa_jax.report.dataset.labels import label_counts, together
from hpa_jax.report.dataset.load import Facts, Pair, Reject, read_facts
from hpa_jax.report.dataset.overview import findings
from hpa_jax.report.dataset.page import dataset_page
from hpa_jax.report.html import percent, text
from hpa_jax.report.pictures import HEIGHT, SIDE, look, stretched, tile

EVIL = '<script>document.title="owned"</script>"><img src=http://evil.invalid/x onerror=alert(1)>\u202e\x00'


def hand_made(n=300, **changes):
    """A dataset of `n` fields that exists in memory alone: every label, hostile Ids, a pair of every kind."""
    rng = np.random.default_rng(0)
    targets = (rng.random((n, 28)) < 0.05).astype(np.uint8)
    targets[np.arange(n), np.arange(n) % 28] = 1
    folds = np.arange(n) % 5 - 1
    facts = Facts(
        name="made",
        version="2.0.0",
        ids=[f"{EVIL}{i}" for i in range(n)],
        targets=targets,
        folds=folds,
        groups=np.arange(n),
        sizes=np.full((n, 2), 512),
        histogram=rng.integers(0, 1000, (4, 256)),
        build={"source": EVIL, "test": 0.1},
        pairs=[Pair(f"{EVIL}0", f"{EVIL}1", 3), Pair(f"{EVIL}2", EVIL, 1)],
        rejects=[Reject(f"r{i}{EVIL}", f"train/{EVIL}", f"{EVIL} is {i}x9") for i in range(20)],
    )
    return replace(facts, **changes)


def page_of(facts, image):
    mosaic, pairs = examples.mosaic(facts), examples.twins(facts)
    return dataset_page(
        facts, mosaic, pairs, {spot: look(image(spot)) for spot in examples.shown(mosaic, pairs)}
    )


def noise(spot, side=96):
    return np.random.default_rng([*spot]).integers(0, 256, (side, side, 4), np.uint8)


@pytest.fixture(scope="module")
def page(small_data, run, tmp_path_factory):
    """The page that the command writes about `synthetic_32`."""
    workdir = tmp_path_factory.mktemp("report")
    flags = (f"--config.data.data_dir={small_data}", "--config.data.name=synthetic_32")
    done = run("--mode=report", *flags, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert str(workdir / "report.html") in done.stdout
    return workdir / "report.html"


def config_of(data_dir, *names):
    config = Config()
    config.data.data_dir, config.data.name, config.data.sources = (
        str(data_dir),
        names[0],
        names[1:] and names,
    )
    return config


# What a browser makes of it.


def test_the_browser_shows_every_section_and_picture_and_asks_for_nothing_else(
    page, browser, small_data
):
    browser.requests.clear(), browser.complaints.clear()
    browser.open(page)
    sections = browser.value("[...document.querySelectorAll('main section')].map(s => s.id)")
    assert (
        sections
        == "overview labels mosaic together intensities twins rejects parts settings".split()
    )
    links = browser.value(
        "[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))"
    )
    assert links == [f"#{section}" for section in sections]
    assert browser.value(
        "[...document.querySelectorAll('a')].every(a => document.querySelector(a.hash))"
    )

    shown = browser.value(
        "[...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.alt, i.title])"
    )
    counts = load_dataset(small_data, "synthetic_32", split="all").targets().sum(axis=0)
    assert len(shown) >= np.minimum(counts, examples.PER_LABEL).sum() > 100
    assert {(width, height) for width, height, *_ in shown} == {(SIDE, HEIGHT)}
    assert all(alt.startswith("Field synthetic-0-") and title in alt for _, _, alt, title in shown)

    assert browser.requests[0] == page.as_uri()
    assert {url.partition(":")[0] for url in browser.requests[1:]} == {"data"}
    assert browser.complaints == []


def test_the_table_and_the_heat_map_on_the_screen_have_the_numbers_of_the_dataset(
    page, browser, small_data
):
    browser.open(page)
    targets = load_dataset(small_data, "synthetic_32", split="all").targets().astype(int)
    rows = browser.value(
        "[...document.querySelectorAll('.counts tbody tr')].map(r => [...r.cells].map(c => c.textContent.trim()))"
    )
    assert {int(row[0].split()[0]): int(row[1]) for row in rows} == dict(
        enumerate(targets.sum(axis=0))
    )
    assert [int(row[1]) for row in rows] == sorted((int(row[1]) for row in rows), reverse=True)
    parts = np.array([[int(cell) for cell in row[-3:]] for row in rows]).sum(axis=0)
    by_part = [
        load_dataset(small_data, "synthetic_32", split=p).targets().sum()
        for p in ("train", "validation", "test")
    ]
    assert parts.tolist() == by_part

    cells = browser.value(
        "[...document.querySelectorAll('.heat tbody tr')].map(r => [...r.cells].slice(1).map(c => c.textContent))"
    )
    assert (
        np.array([[int(cell or 0) for cell in row] for row in cells]) == targets.T @ targets
    ).all()


def test_it_fits_a_phone_and_follows_the_dark_theme(page, browser):
    colours = []
    for width, dark in ((400, False), (400, True), (1280, True)):
        browser.open(page, width=width, dark=dark)
        assert browser.value("document.documentElement.scrollWidth") <= width
        style = "getComputedStyle(document.body)"
        colours.append(
            [
                sum(browser.value(f"{style}.{c}.match(/\\d+/g).map(Number)"))
                for c in ("color", "background")
            ]
        )
    (ink, paper), (dark_ink, dark_paper), _ = colours
    assert ink < 200 < 700 < paper and dark_paper < 100 < 600 < dark_ink


def test_hostile_text_is_shown_and_nothing_more(browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page_of([hand_made(), hand_made(name=EVIL)], noise), encoding="utf-8")
    browser.requests.clear(), browser.complaints.clear()
    browser.open(path)
    assert browser.value("document.title").startswith("hpa/made + hpa/<script>")
    assert browser.value("document.scripts.length") == 0
    assert browser.value(
        "[...document.images].every(i => i.src.startsWith('data:') && i.naturalWidth > 0)"
    )
    assert browser.value(
        "[...document.querySelectorAll('*')].every(e => ![...e.attributes].some(a => /^on/.test(a.name)))"
    )
    assert "evil.invalid/x onerror" in browser.value("document.querySelector('#rejects').innerText")
    assert not {"\u202e", "\x00"} & set(browser.value("document.body.innerText"))
    assert {url.partition(":")[0] for url in browser.requests} == {
        "file",
        "data",
    } and not browser.complaints


def test_the_policy_stops_what_would_slip_through(browser, tmp_path, page):
    raw = "".join(
        f'<{tag} src="http://evil.invalid/x"></{tag}>' for tag in ("img", "script", "iframe")
    )
    raw += '<script>document.title="owned"</script><link rel="stylesheet" href="http://evil.invalid/x">'
    path = tmp_path / "report.html"
    path.write_text(
        page.read_text(encoding="utf-8").replace("<main>", "<main>" + raw), encoding="utf-8"
    )
    browser.complaints.clear()
    browser.open(path)
    assert browser.value("document.title") == "hpa/synthetic_32"
    assert sum("Content Security Policy" in complaint for complaint in browser.complaints) == 5
    browser.complaints.clear()


# The file.


def test_the_same_dataset_gives_the_same_bytes(page, small_data, tmp_path):
    report(config_of(small_data, "synthetic_32"), tmp_path)
    assert (tmp_path / "report.html").read_bytes() == page.read_bytes()
    assert str(small_data) not in page.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_page_stays_below_five_megabytes_even_for_noise():
    ids = [f"{i}-" * 400 for i in range(2000)]
    pairs = [Pair(ids[2 * i], ids[2 * i + 1], 0) for i in range(900)]
    html = page_of([hand_made(n=2000, ids=ids, pairs=pairs)], noise)
    assert html.count("<img ") == 28 * examples.PER_LABEL + 2 * examples.PAIRS
    assert 3e6 < len(html.encode()) < 5e6


def test_several_sources_stand_side_by_side(small_data, tmp_path):
    shutil.copytree(small_data / "hpa", tmp_path / "hpa")
    shutil.copytree(tmp_path / "hpa" / "synthetic_32", tmp_path / "hpa" / "other")
    config = config_of(tmp_path, "synthetic_32", "other:0.5")
    report(config, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "160 fields" in html and "of other" in html and html.count('class="line s1"') == 4


def test_a_dataset_without_tables_says_so(small_data, tmp_path):
    version = shutil.copytree(
        next((small_data / "hpa" / "synthetic_32").iterdir()), tmp_path / "hpa/old/2.0.0"
    )
    for name in ("fields.csv", "metadata.json"):
        (version / name).unlink()
    report(config_of(tmp_path, "old"), tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    for what in ("intensity statistics", "a search for near-duplicates", "a list of rejects"):
        assert f"old: built without {what}. Build the dataset again" in html


@pytest.mark.parametrize(
    "file, content",
    [("metadata.json", "{"), ("duplicates.csv", "x,y\n1,2\n"), ("rejects.csv", "id\n1\n")],
)
def test_damage_is_one_line_that_names_the_file(small_data, tmp_path, file, content):
    version = shutil.copytree(
        next((small_data / "hpa" / "synthetic_32").iterdir()), tmp_path / "hpa/bad/2.0.0"
    )
    (version / file).write_text(content)
    with pytest.raises(InputError, match=f"{version / file}: .*build the dataset again"):
        report(config_of(tmp_path, "bad"), tmp_path)
    assert not (tmp_path / "report.html").exists()


# Its numbers.


def test_facts_of_a_dataset_are_those_of_its_parts_and_images(small_data):
    facts, fields = read_facts(small_data, "synthetic_32")
    assert facts.ids == [
        i
        for part in ("train", "validation", "test")
        for i in load_dataset(small_data, "synthetic_32", split=part).ids()
    ]
    assert [int((facts.parts() == p).sum()) for p in range(3)] == [
        len(load_dataset(small_data, "synthetic_32", split=part))
        for part in ("train", "validation", "test")
    ]
    pixels = np.stack([fields.image(i) for i in range(len(fields))]).reshape(-1, 4)
    for channel, histogram in enumerate(facts.histogram):
        mean, std, bright, full, empty = moments(histogram)
        values = pixels[:, channel] / 255
        np.testing.assert_allclose([mean, std], [values.mean(), values.std()], rtol=1e-9)
        np.testing.assert_allclose(bright, np.quantile(values, 0.99, method="inverted_cdf"))
        assert full == (values == 1).mean() and not empty


def test_counts_and_pairs_of_labels_equal_counting_one_by_one():
    facts = [hand_made(), hand_made(n=50)]
    sets = [frozenset(np.flatnonzero(row)) for d in facts for row in d.targets]
    both = together(facts)
    assert all(both[i, j] == sum({i, j} <= s for s in sets) for i in range(28) for j in range(28))
    assert (label_counts(facts).sum(axis=1) == np.diag(both)).all()


def test_fields_shown_bear_the_label_and_spread_over_all_sources():
    facts = [hand_made(), hand_made(n=100)]
    for label, spots in enumerate(examples.mosaic(facts)):
        assert len(set(spots)) == examples.PER_LABEL
        assert all(facts[s].targets[i, label] for s, i in spots)
        assert {s for s, _ in spots} == {0, 1}
    assert examples.spread(np.array([3, 5]), 9) == [3, 5]
    assert examples.spread(np.arange(100), 3) == [0, 50, 99]


def test_near_duplicates_with_differing_labels_come_first():
    facts = hand_made(ids=[f"f{i}" for i in range(300)])
    facts.targets[7] = facts.targets[6]
    pairs = [
        Pair("f6", "f7", 0),
        Pair("f0", "f1", 9),
        Pair("f2", "f3", 2),
        Pair("f4", "unknown", 0),
    ]
    found = examples.twins([replace(facts, pairs=pairs)])
    assert [twin.pair.a for twin in found] == ["f2", "f0", "f6", "f4"]
    assert found[0].a == (0, 2) and found[3].b is None


def test_what_stands_out_is_said():
    n = 300
    same = np.arange(n) // 2
    targets = hand_made().targets
    targets[:, 27], targets[:, 26] = 0, 0
    targets[:3, 26] = 1
    histogram = np.full((4, 256), 10)
    histogram[1, 11:] = 0
    histogram[2, 255] = 10_000
    facts = hand_made(groups=same, targets=targets, histogram=histogram)
    said = " ".join(line for line, _ in findings([facts], examples.twins([facts]), {}))
    for words in (
        "groups straddle folds",
        "1 pair of near-duplicates has differing labels",
        "1 pair of near-duplicates stands in different folds",
        "6.2% of the rows of made were rejected",
        "the green channel is empty",
        "the blue channel is saturated",
        "1 label without any field:</b> Rods &amp; rings.",
        "1 label with fewer than 10 fields:</b> Cytoplasmic bodies",
    ):
        assert words in said
    assert "red channel" not in said and "of several sizes" not in said


def test_reasons_are_counted_without_their_numbers():
    rejects = [Reject("a", "f", f"is {i}x{i}, not 512x512") for i in range(3)] + [
        Reject("b", "g", "is empty")
    ]
    assert by_reason(rejects) == [("is NxN, not NxN", 3), ("is empty", 1)]


# Its pictures.


def test_false_colours_and_the_protein_alone():
    image = np.zeros(
        (2 * SIDE, SIDE, 4), np.uint8
    )  # twice as high as wide: black is left on both sides
    image[:SIDE] = (200, 0, 0, 100)
    image[SIDE:] = (0, 120, 255, 0)
    shown = tile(image)
    assert shown.shape == (HEIGHT, SIDE, 3) and not shown[:SIDE, : SIDE // 4].any()
    assert shown[10, SIDE // 2].tolist() == [255, 127, 0]
    assert shown[SIDE - 10, SIDE // 2].tolist() == [0, 255, 255]
    assert (
        shown[HEIGHT - 10, SIDE // 2].tolist() == [255] * 3
        and not shown[HEIGHT - SIDE + 10, SIDE // 2].any()
    )


def test_an_empty_channel_stays_dark_and_is_named():
    image = np.random.default_rng(0).integers(0, 6, (64, 64, 4), np.uint8)
    image[:20, :20, 0] = 255
    found = look(image)
    assert found.empty == ("green", "blue", "yellow") and found.saturated == ("red",)
    assert stretched(image)[..., 1:].max() <= 36


def test_a_thumbnail_is_a_picture_of_its_field():
    image = np.zeros((300, 300, 4), np.uint8)
    cv2.circle(image, (150, 150), 80, (30, 255, 0, 60), -1)
    data = base64.b64decode(look(image).uri.partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[..., ::-1].astype(int) - tile(image)).mean() < 4


# Its charts.


def test_a_logarithmic_bar_is_longer_for_more():
    assert decades(0) == [1] and decades(10) == [1, 10] and decades(12885)[-1] == 100_000
    lengths = [along(count, 10_000) for count in (0, 1, 10, 100, 1000, 10_000)]
    assert lengths[0] == 0 and lengths[-1] == 100
    np.testing.assert_allclose(np.diff(lengths[1:]), np.diff(lengths[1:])[0])
    assert log_bars([5, 0, 1], 10).count("<rect") == 3


def test_a_cell_tells_its_count_and_its_share():
    html = heat_table(np.array([[20, 5], [5, 12_000]]), ["A & B", "C"])
    assert 'title="A &amp; B with C: 5, 25% of A &amp; B">5<' in html and ">12k<" in html
    assert 'class="h5"' in html and 'class="h1"' in html  # the roots of 0.25 and of 5 / 12,000


def test_a_histogram_line_goes_from_the_first_to_the_last_value():
    counts = np.zeros(256, np.int64)
    counts[[0, 255]] = 50
    svg = histogram_lines([("<a>", counts)], "said")
    line = svg.partition('class="line s0" d="')[2].partition('"')[0]
    assert line.count("V") == 256 and line.endswith("H350.0") and "<title>&lt;a&gt;</title>" in svg


def test_text_is_escaped_clipped_and_visible():
    assert text("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"
    assert text("a\u202eb\nc") == "a\ufffdb\ufffdc" and len(text("x" * 10_000)) == 300
    assert [percent(share) for share in (0, 0.004, 0.25, 1)] == ["0%", "0.4%", "25%", "100%"]
