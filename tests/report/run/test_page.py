"""The page about a run: what a real browser makes of it, and its files against the evaluator."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
from support.made_reports import (
    HOSTILE,
    made_config,
    made_gallery,
    made_records,
    made_run,
    made_run_page,
    made_sections,
    made_table,
)

from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from hpa_jax.evaluation.score_table import load
from hpa_jax.labels import LABELS
from hpa_jax.metrics.summary import evaluate
from hpa_jax.recipes import parse
from hpa_jax.report.pictures import SIDE, WIDTH
from hpa_jax.report.run.comparison import compare
from hpa_jax.report.run.load import make_run, read_runs

SECTIONS = (
    "overview published learning labels precision thresholds calibration errors mistakes hits "
    "settings".split()
)


@pytest.fixture(scope="module")
def runs(small_run, run, tmp_path_factory):
    """A short run and what it was eight steps earlier, and the report of both."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("one", "two")]
    flags = ("--config.train.steps=16", "--config.train.eval_every=8", "--config.train.log_every=2")
    done = run(*small_run, *flags, f"--workdir={folders[0]}")
    assert done.returncode == 0, done.stderr
    shutil.copytree(folders[0], folders[1])
    shutil.rmtree(folders[1] / "checkpoints" / "16")
    done = run(*command(folders))
    assert done.returncode == 0, done.stderr
    assert f"{folders[0] / 'report.html'}: " in done.stdout
    assert f"{folders[0] / 'report'}: " in done.stdout
    return folders


def command(folders):
    return (
        "--mode=report",
        f"--workdir={folders[0]}",
        f"--config.report.compare={folders[1]}",
        "--config.evaluate.checkpoint=latest",
        "--config.data.eval_split=test",
        "--config.evaluate.replicates=100",
    )


# What a browser makes of it.


def test_the_browser_shows_every_section_and_picture_and_asks_for_nothing_else(runs, browser):
    page = runs[0] / "report.html"
    browser.requests.clear(), browser.complaints.clear()
    browser.open(page)
    sections = browser.value("[...document.querySelectorAll('main section')].map(s => s.id)")
    assert sections == [*SECTIONS[:2], "comparison", *SECTIONS[2:]]
    assert browser.value(
        "[...document.querySelectorAll('a')].every(a => document.querySelector(a.hash))"
    )
    shown = browser.value("[...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.alt])")
    with open(runs[0] / "report" / "gallery.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(shown) == len(rows) > 20 and {tuple(one[:2]) for one in shown} == {(WIDTH, SIDE)}
    _, _, alt = shown[0]
    assert rows[0]["id"] in alt and rows[0]["label"] in alt
    assert browser.requests[0] == page.as_uri()
    assert {url.partition(":")[0] for url in browser.requests[1:]} == {"data"}
    assert browser.complaints == [] and browser.value("document.scripts.length") == 0


def test_metrics_on_the_screen_are_those_of_the_evaluator(runs, browser):
    browser.open(runs[0] / "report.html")
    table = load(runs[0] / "scores" / "test.npz")
    found = evaluate(
        table.scores, table.targets, label_ids=table.label_ids, groups=table.groups, replicates=100
    )
    rows = browser.value(
        "[...document.querySelectorAll('#overview table tbody tr')]"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )
    shown = {row[0]: row[1] for row in rows}
    low, high = found["intervals"]["macro_f1"]
    assert shown["Macro F1 at 0.5"] == f"{found['macro_f1']:.3f} {low:.3f} to {high:.3f}"
    assert shown["Element-wise accuracy at 0.5"].startswith(f"{found['accuracy']:.3f} ")
    rows = browser.value(
        "[...document.querySelectorAll('#labels tbody tr')]"
        ".map(r => [...r.cells].map(c => c.innerText))"
    )
    support = table.targets.sum(axis=0).tolist()
    assert [int(row[1]) for row in rows] == sorted(support, reverse=True)
    assert {int(row[0].split()[0]): int(row[1]) for row in rows} == dict(enumerate(support))
    bars = browser.value("document.querySelectorAll('#labels tbody .bars rect').length")
    assert bars == 2 * 28


def test_it_fits_a_phone_and_follows_the_dark_theme(runs, browser):
    colours = []
    for width, dark in ((400, False), (400, True), (1280, True)):
        browser.open(runs[0] / "report.html", width=width, dark=dark)
        assert browser.value("document.documentElement.scrollWidth") <= width
        marks = (
            "['#learning .line.s0', '#learning .line.s1', '#published rect.published']"
            ".map(q => document.querySelector(q))"
        )
        inks = browser.value(f"{marks}.map(e => getComputedStyle(e).stroke)")
        assert len(set(inks)) == 3
        colours.append([browser.value("getComputedStyle(document.body).backgroundColor"), *inks])
    light, dark, _ = colours
    assert all(a != b for a, b in zip(light, dark, strict=True))


def test_hostile_text_is_shown_and_nothing_more(browser, tmp_path):
    n = 60
    ids = [f"{HOSTILE}{i}" for i in range(n)]
    table = made_table(n, ids=ids, source_names=(HOSTILE,), split=HOSTILE)
    records = [*made_records(), {"step": 5, "split": HOSTILE, "macro_f1": 0.5}]
    config = made_config()
    config.model.name = HOSTILE
    config.data.train_split = HOSTILE
    pair = [make_run(name, config, records, table) for name in (HOSTILE, f"b{HOSTILE}")]
    html = made_run_page(pair, [compare(*pair)])
    assert "<script" not in html and "<img src=http" not in html
    path = tmp_path / "report.html"
    path.write_text(html, encoding="utf-8")
    browser.requests.clear(), browser.complaints.clear()
    browser.open(path)
    assert browser.value("document.title").startswith("<script>")
    assert browser.value("document.scripts.length") == 0
    assert not browser.value(
        "[...document.querySelectorAll('*')]"
        ".some(e => [...e.attributes].some(a => /^on/.test(a.name)))"
    )
    assert {url.partition(":")[0] for url in browser.requests} == {"file", "data"}
    assert not browser.complaints


# The files.


def test_csv_and_json_hold_the_same_and_the_same_run_gives_the_same_bytes(runs, run):
    folder = runs[0] / "report"
    tables = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert {path.stem for path in folder.glob("*.csv")} == set(tables)
    assert {"differences", "differences_per_label", "figures", "gallery"} < set(tables)
    for name, rows in tables.items():
        with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
            written = list(csv.DictReader(file))
        expected = []
        for row in rows:
            texts = {key: "" if value is None else str(value) for key, value in row.items()}
            expected.append(texts)
        assert written == expected, name
    assert {row["run"] for row in tables["figures"]} == {"one", "two"}
    assert len(tables["per_label"]) == 2 * 28
    evaluations = set()
    for row in tables["learning_curves"]:
        if row["run"] == "one" and row["figure"] == "macro_f1":
            evaluations.add(row["step"])
    assert evaluations == {8, 16}

    before = {path: path.read_bytes() for path in [runs[0] / "report.html", *folder.iterdir()]}
    done = run(*command(runs))
    # Nothing is scored again.
    assert done.returncode == 0 and done.stdout.count("are the same") == 2, done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert str(runs[0].parent) not in before[runs[0] / "report.html"].decode()


def test_the_gallery_shows_images_of_the_dataset_with_their_labels(runs, small_data):
    dataset = load_dataset(small_data, "synthetic_32", split="test")
    targets = dict(zip(dataset.ids(), dataset.targets(), strict=True))
    rows = json.loads((runs[0] / "report" / "report.json").read_text(encoding="utf-8"))["gallery"]
    for row in rows:
        has_label = bool(targets[row["id"]][LABELS.index(row["label"])])
        assert has_label == (row["kind"] != "wrongly predicted")
    assert {"best hit", "missed"} <= {row["kind"] for row in rows}


def test_what_cannot_be_compared_is_one_line(runs, run, tmp_path):
    done = run("--mode=report", f"--workdir={runs[0]}", f"--config.report.compare={tmp_path}")
    assert done.returncode == 2 and done.stderr == (
        f"error: {tmp_path} holds no run (no config.json); "
        "give --workdir the folder of a training run\n"
    )
    trained = "was trained with config.data.channel_mix='rgby', not 'green'"
    with pytest.raises(InputError, match=trained):
        parse(["--mode=report", f"--workdir={runs[0]}", "--config.data.channel_mix=green"])
    for field, value, words in (
        ("report.compare", "a,b,c,d,e", "config.report.compare names 5 runs"),
        ("evaluate.runs", "a,b", "an ensemble, which has no report"),
    ):
        _, _, config = parse(["--mode=report", f"--workdir={runs[0]}", f"--config.{field}={value}"])
        with pytest.raises(InputError, match=words):
            read_runs(config, runs[0])


# Runs that lack something.


def test_a_run_without_intervals_records_or_some_labels_has_a_page(browser, tmp_path):
    table = made_table(40)
    table.targets[:, :3] = 0
    run = made_run(table, records=[], replicates=0)
    path = tmp_path / "report.html"
    path.write_text(made_run_page([run]), encoding="utf-8")
    browser.complaints.clear()
    browser.open(path)
    sections = browser.value("[...document.querySelectorAll('main section')].map(s => s.id)")
    assert sections == SECTIONS
    text = browser.value("document.body.innerText")
    for words in (
        "config.evaluate.replicates is 0. Cross-fitted",
        "3 labels with no image here: ",
        "No metrics.jsonl",
        "not run",
    ):
        assert words in text, words
    assert "nan" not in text.lower().replace("nanometre", "") and not browser.complaints
    for section in made_sections([run]):
        for one in section.tables:
            assert all(len(row) == len(one.columns) for row in one.rows), one.name


def test_a_net_that_makes_no_mistake_says_so():
    run = made_run(made_table(60, skill=60.0))
    assert not made_gallery(run).false_positives
    text = made_run_page([run])
    assert "Not one label was wrongly predicted or missed" in text
    assert "Missed in all: 0 labels" in text


def test_several_datasets_have_a_row_each():
    table = made_table(60, source_names=("first", "second"))
    table = replace(table, source=table.source.copy())
    table.source[40:] = 1
    text = " ".join(made_run_page([made_run(table, replicates=0)]).split())
    assert '<th scope="row">first</th><td>40</td>' in text
    assert '<th scope="row">second</th><td>20</td>' in text


def test_the_votes_of_a_fused_net_have_a_card():
    run = made_run(made_table(60), replicates=0)
    assert "Weight of votes" not in made_run_page([run])
    voted = replace(run, votes={"weight": 0.25, "gain": -0.0123})
    text = " ".join(made_run_page([voted]).split())
    assert "Weight of votes" in text
    assert "0.250" in text
    assert "-0.0123 macro F1 out of fold" in text
