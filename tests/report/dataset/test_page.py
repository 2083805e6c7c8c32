"""The page about a dataset: what a real browser makes of it, and the file."""

import shutil

import numpy as np
import pytest
from support.made_reports import HOSTILE, made_dataset, made_dataset_page

from hpa_jax.config import Config
from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from hpa_jax.report.dataset import examples
from hpa_jax.report.dataset.load import Duplicate
from hpa_jax.report.pictures import HEIGHT, SIDE
from hpa_jax.report.write import write_report

SECTIONS = (
    "overview labels examples cooccurrence intensities duplicates rejects splits settings".split()
)


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
    config.data.data_dir = str(data_dir)
    config.data.name = names[0]
    if len(names) > 1:
        config.data.sources = names
    return config


# What a browser makes of it.


def test_the_browser_shows_every_section_and_picture_and_asks_for_nothing_else(
    page, browser, small_data
):
    browser.requests.clear(), browser.complaints.clear()
    browser.open(page)
    sections = browser.value("[...document.querySelectorAll('main section')].map(s => s.id)")
    assert sections == SECTIONS
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
    assert all(alt.startswith("Image synthetic-0-") and title in alt for _, _, alt, title in shown)

    assert browser.requests[0] == page.as_uri()
    assert {url.partition(":")[0] for url in browser.requests[1:]} == {"data"}
    assert browser.complaints == []


def test_the_table_and_the_heat_map_on_the_screen_have_the_numbers_of_the_dataset(
    page, browser, small_data
):
    browser.open(page)
    targets = load_dataset(small_data, "synthetic_32", split="all").targets().astype(int)
    rows = browser.value(
        "[...document.querySelectorAll('.counts tbody tr')]"
        ".map(r => [...r.cells].map(c => c.textContent.trim()))"
    )
    counts = {int(row[0].split()[0]): int(row[1]) for row in rows}
    assert counts == dict(enumerate(targets.sum(axis=0)))
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    by_split = np.array([[int(cell) for cell in row[-3:]] for row in rows]).sum(axis=0)
    assert by_split.tolist() == [
        load_dataset(small_data, "synthetic_32", split=split).targets().sum()
        for split in ("train", "validation", "test")
    ]

    cells = browser.value(
        "[...document.querySelectorAll('.heat tbody tr')]"
        ".map(r => [...r.cells].slice(1).map(c => c.textContent))"
    )
    shown = np.array([[int(cell or 0) for cell in row] for row in cells])
    assert (shown == targets.T @ targets).all()


def test_it_fits_a_phone_and_follows_the_dark_theme(page, browser):
    brightness = []
    for width, dark in ((400, False), (400, True), (1280, True)):
        browser.open(page, width=width, dark=dark)
        assert browser.value("document.documentElement.scrollWidth") <= width
        style = "getComputedStyle(document.body)"
        brightness.append(
            [
                sum(browser.value(f"{style}.{c}.match(/\\d+/g).map(Number)"))
                for c in ("color", "background")
            ]
        )
    (ink, paper), (dark_ink, dark_paper), _ = brightness
    assert ink < 200 < 700 < paper and dark_paper < 100 < 600 < dark_ink


def test_bars_of_splits_have_the_colours_of_their_keys(page, browser):
    browser.open(page)
    bars = browser.value(
        "[...document.querySelectorAll('.counts tbody tr:first-child rect')]"
        ".map(e => getComputedStyle(e).fill)"
    )
    keys = browser.value(
        "[...document.querySelectorAll('.counts .key')]"
        ".map(e => getComputedStyle(e, '::before').backgroundColor)"
    )
    assert bars == keys and len(set(bars)) == 3


def test_hostile_text_is_shown_and_nothing_more(browser, tmp_path):
    path = tmp_path / "report.html"
    text = made_dataset_page([made_dataset(), made_dataset(name=HOSTILE)])
    path.write_text(text, encoding="utf-8")
    browser.requests.clear(), browser.complaints.clear()
    browser.open(path)
    assert browser.value("document.title").startswith("hpa/made + hpa/<script>")
    assert browser.value("document.scripts.length") == 0
    assert browser.value(
        "[...document.images].every(i => i.src.startsWith('data:') && i.naturalWidth > 0)"
    )
    assert browser.value(
        "[...document.querySelectorAll('*')]"
        ".every(e => ![...e.attributes].some(a => /^on/.test(a.name)))"
    )
    assert "evil.invalid/x onerror" in browser.value("document.querySelector('#rejects').innerText")
    assert not {"\u202e", "\x00"} & set(browser.value("document.body.innerText"))
    assert {url.partition(":")[0] for url in browser.requests} == {"file", "data"}
    assert not browser.complaints


def test_the_policy_stops_what_would_slip_through(browser, tmp_path, page):
    raw = "".join(
        f'<{tag} src="http://evil.invalid/x"></{tag}>' for tag in ("img", "script", "iframe")
    )
    raw += '<script>document.title="owned"</script>'
    raw += '<link rel="stylesheet" href="http://evil.invalid/x">'
    path = tmp_path / "report.html"
    text = page.read_text(encoding="utf-8").replace("<main>", "<main>" + raw)
    path.write_text(text, encoding="utf-8")
    browser.complaints.clear()
    browser.open(path)
    assert browser.value("document.title") == "hpa/synthetic_32"
    assert sum("Content Security Policy" in complaint for complaint in browser.complaints) == 5
    browser.complaints.clear()


# The file.


def test_the_same_dataset_gives_the_same_bytes(page, small_data, tmp_path):
    write_report(config_of(small_data, "synthetic_32"), tmp_path)
    assert (tmp_path / "report.html").read_bytes() == page.read_bytes()
    assert str(small_data) not in page.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_page_stays_below_five_megabytes_even_for_noise():
    ids = [f"{i}-" * 400 for i in range(2000)]
    pairs = [Duplicate(ids[2 * i], ids[2 * i + 1], 0) for i in range(900)]
    html = made_dataset_page([made_dataset(n=2000, ids=ids, duplicates=pairs)])
    assert html.count("<img ") == 28 * examples.PER_LABEL + 2 * examples.MAX_PAIRS
    assert 3e6 < len(html.encode()) < 5e6


def test_several_sources_are_shown_side_by_side(small_data, tmp_path):
    shutil.copytree(small_data / "hpa", tmp_path / "hpa")
    shutil.copytree(tmp_path / "hpa" / "synthetic_32", tmp_path / "hpa" / "other")
    write_report(config_of(tmp_path, "synthetic_32", "other:0.5"), tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "160 images" in html and "of other" in html and html.count('class="line s1"') == 4


def test_a_dataset_without_tables_says_so(small_data, tmp_path):
    version = shutil.copytree(
        next((small_data / "hpa" / "synthetic_32").iterdir()), tmp_path / "hpa/old/2.0.0"
    )
    for name in ("images.csv", "metadata.json"):
        (version / name).unlink()
    write_report(config_of(tmp_path, "old"), tmp_path)
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
        write_report(config_of(tmp_path, "bad"), tmp_path)
    assert not (tmp_path / "report.html").exists()
