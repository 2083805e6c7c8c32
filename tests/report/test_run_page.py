"""The page about a run: its numbers against independent ones, and what a real browser makes of it."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from configs import (
    all_cnn,
    best_512,
    densenet201,
    highres,
    highres_first_nine,
    inception_resnet_v2,
    lowres,
    lowres_first_nine,
    quickstart,
)
from hpa_jax.config import Config
from hpa_jax.data.catalog import load_dataset
from hpa_jax.errors import InputError
from hpa_jax.evaluation.score_table import ScoreTable, load
from hpa_jax.labels import LABELS
from hpa_jax.main import parse
from hpa_jax.metrics.summary import evaluate_scores
from hpa_jax.report.overlays import WIDTH
from hpa_jax.report.pictures import SIDE
from hpa_jax.report.run import gallery
from hpa_jax.report.run.comparison import compare, differences_section
from hpa_jax.report.run.load import distinct_names, made_run, read_lines, read_runs
from hpa_jax.report.run.page import run_page, run_tables
from hpa_jax.report.run.published import STUDY, row_of
from hpa_jax.report.run.published_section import published_section, published_table
from hpa_jax.report.tables import Table, write_tables

EVIL = '<script>document.title="owned"</script>"><img src=http://evil.invalid/x onerror=alert(1)>\u202e\x00'
SECTIONS = "overview published learning labels precision thresholds calibration errors mistakes hits settings".split()


def made_table(n=300, seed=0, skill=2.0, **changes):
    """Scores of `n` fields that exist in memory alone; the larger `skill`, the better."""
    rng = np.random.default_rng(0)
    targets = (rng.random((n, 28)) < np.linspace(0.01, 0.3, 28)).astype(np.uint8)
    noise = np.random.default_rng([seed, 1]).normal(size=targets.shape)
    table = ScoreTable(
        ids=[f"f{i}" for i in range(n)],
        scores=(1 / (1 + np.exp(-(skill * (2 * targets.astype(float) - 1) + noise)))).astype(
            np.float32
        ),
        targets=targets,
        groups=np.arange(n) // 2,
        folds=np.zeros(n, np.int64),
        source=np.zeros(n, np.int32),
        source_names=("made",),
        label_ids=tuple(range(28)),
        split="validation",
        checkpoint=40,
        views="whole field",
        thresholds=np.full(28, 0.4),
        thresholds_split="validation",
    )
    return replace(table, **changes)


def made_config(replicates=40):
    config = Config()
    config.evaluate.replicates = replicates
    config.data.image_size = 64
    return config


LINES = [
    {"step": s, "split": "train", "loss": 1 / s, "lr": 1e-3, "accuracy": 0.9} for s in range(1, 900)
] + [{"step": s, "split": "validation", "macro_f1": s / 1000, "micro_f1": 0.5} for s in (300, 600)]


def run_of(table, name="made", lines=LINES, **settings):
    return made_run(name, made_config(**settings), lines, table)


def with_pictures(run):
    chosen = gallery.chosen(run)
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    return chosen._replace(pictures=dict.fromkeys(chosen.cases(), pixel))


@pytest.fixture(scope="module")
def runs(small_run, run, tmp_path_factory):
    """A short run and what it was eight steps earlier; the report of the first beside the second, by the command."""
    folders = [tmp_path_factory.mktemp("runs") / name for name in ("one", "two")]
    flags = ("--config.train.steps=16", "--config.train.eval_every=8", "--config.train.log_every=2")
    done = run(*small_run, *flags, f"--workdir={folders[0]}")
    assert done.returncode == 0, done.stderr
    shutil.copytree(folders[0], folders[1])
    shutil.rmtree(folders[1] / "checkpoints" / "16")
    done = run(*command(folders))
    assert done.returncode == 0, done.stderr
    assert (
        f"{folders[0] / 'report.html'}: " in done.stdout
        and f"{folders[0] / 'report'}: " in done.stdout
    )
    return folders


def command(folders):
    flags = (
        "--config.evaluate.checkpoint=latest",
        "--config.data.eval_split=test",
        "--config.evaluate.replicates=100",
    )
    return (
        "--mode=report",
        f"--workdir={folders[0]}",
        f"--config.report.compare={folders[1]}",
        *flags,
    )


# What a browser makes of it.


def test_the_browser_shows_every_section_and_picture_and_asks_for_nothing_else(runs, browser):
    page = runs[0] / "report.html"
    browser.requests.clear(), browser.complaints.clear()
    browser.open(page)
    sections = browser.value("[...document.querySelectorAll('main section')].map(s => s.id)")
    assert sections == [*SECTIONS[:2], "differences", *SECTIONS[2:]]
    assert browser.value(
        "[...document.querySelectorAll('a')].every(a => document.querySelector(a.hash))"
    )
    shown = browser.value("[...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.alt])")
    rows = list(csv.DictReader(open(runs[0] / "report" / "gallery.csv", encoding="utf-8")))
    assert len(shown) == len(rows) > 20 and {tuple(one[:2]) for one in shown} == {(WIDTH, SIDE)}
    assert all(
        row["id"] in alt and row["label"] in alt
        for row, (_, _, alt) in zip(rows[:1], shown[:1], strict=True)
    )
    assert {url.partition(":")[0] for url in browser.requests[1:]} == {"data"} and browser.requests[
        0
    ] == page.as_uri()
    assert browser.complaints == [] and browser.value("document.scripts.length") == 0


def test_figures_on_the_screen_are_those_of_the_evaluator(runs, browser):
    browser.open(runs[0] / "report.html")
    table = load(runs[0] / "scores" / "test.npz")
    found = evaluate_scores(
        table.scores, table.targets, label_ids=table.label_ids, groups=table.groups, replicates=100
    )
    cells = "[...document.querySelectorAll('#overview table tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    shown = {row[0]: row[1] for row in browser.value(cells)}
    low, high = found["intervals"]["macro_f1"]
    assert shown["Macro F1 at 0.5"] == f"{found['macro_f1']:.3f} {low:.3f} to {high:.3f}"
    assert shown["Element-wise accuracy at 0.5"].startswith(f"{found['accuracy']:.3f} ")
    cells = "[...document.querySelectorAll('#labels tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    rows = browser.value(cells)
    support = table.targets.sum(axis=0)
    assert [int(row[1]) for row in rows] == sorted(support.tolist(), reverse=True)
    assert {int(row[0].split()[0]): int(row[1]) for row in rows} == dict(
        enumerate(support.tolist())
    )
    bars = browser.value("document.querySelectorAll('#labels tbody .bars rect').length")
    assert bars == 2 * 28


def test_it_fits_a_phone_and_follows_the_dark_theme(runs, browser):
    colours = []
    for width, dark in ((400, False), (400, True), (1280, True)):
        browser.open(runs[0] / "report.html", width=width, dark=dark)
        assert browser.value("document.documentElement.scrollWidth") <= width
        marks = (
            "['#learning .line.s0', '#published rect.theirs'].map(q => document.querySelector(q))"
        )
        inks = browser.value(f"{marks}.map(e => getComputedStyle(e).stroke)")
        colours.append([browser.value("getComputedStyle(document.body).backgroundColor"), *inks])
    light, dark, _ = colours
    assert all(a != b for a, b in zip(light, dark, strict=True))


def test_hostile_text_is_shown_and_nothing_more(browser, tmp_path):
    n = 60
    table = made_table(n, ids=[f"{EVIL}{i}" for i in range(n)], source_names=(EVIL,), split=EVIL)
    lines = [*LINES, {"step": 5, "split": EVIL, "macro_f1": 0.5}]
    config = made_config()
    config.model.name = config.data.channel_mix = EVIL
    pair = [made_run(name, config, lines, table) for name in (EVIL, f"b{EVIL}")]
    path = tmp_path / "report.html"
    html = run_page(pair, [compare(*pair)], with_pictures(pair[0]))
    path.write_text(html, encoding="utf-8")
    browser.requests.clear(), browser.complaints.clear()
    browser.open(path)
    assert (
        browser.value("document.title").startswith("<script>")
        and browser.value("document.scripts.length") == 0
    )
    handlers = "[...document.querySelectorAll('*')].some(e => [...e.attributes].some(a => /^on/.test(a.name)))"
    assert not browser.value(handlers)
    assert {url.partition(":")[0] for url in browser.requests} == {
        "file",
        "data",
    } and not browser.complaints


# The files.


def test_csv_and_json_hold_the_same_and_the_same_run_gives_the_same_bytes(runs, run):
    folder = runs[0] / "report"
    whole = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert {path.stem for path in folder.glob("*.csv")} == set(whole) and "differences" in whole
    for name, rows in whole.items():
        with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
        said = [
            {key: "" if value is None else str(value) for key, value in row.items()} for row in rows
        ]
        assert table == said, name
    assert {row["run"] for row in whole["figures"]} == {"one", "two"} and len(
        whole["per_label"]
    ) == 2 * 28
    steps = {
        row["step"]
        for row in whole["learning_curves"]
        if row["run"] == "one" and row["figure"] == "macro_f1"
    }
    assert steps == {8, 16}

    before = {path: path.read_bytes() for path in [runs[0] / "report.html", *folder.iterdir()]}
    done = run(*command(runs))
    assert done.returncode == 0 and done.stdout.count("are the same") == 2, (
        done.stderr
    )  # nothing scored again
    assert {path: path.read_bytes() for path in before} == before
    assert str(runs[0].parent) not in before[runs[0] / "report.html"].decode()


def test_the_best_hits_bear_their_label_and_stand_in_the_dataset(runs, small_data):
    fields = load_dataset(small_data, "synthetic_32", split="test")
    targets = dict(zip(fields.ids(), fields.targets(), strict=True))
    rows = json.loads((runs[0] / "report" / "report.json").read_text(encoding="utf-8"))["gallery"]
    for row in rows:
        assert bool(targets[row["id"]][LABELS.index(row["label"])]) == (
            row["kind"] != "wrongly predicted"
        )
    assert {"best hit", "missed"} <= {row["kind"] for row in rows}


def test_what_cannot_be_compared_is_one_line(runs, run, tmp_path):
    done = run("--mode=report", f"--workdir={runs[0]}", f"--config.report.compare={tmp_path}")
    assert done.returncode == 2 and done.stderr == (
        f"error: {tmp_path} holds no run (no config.json); give --workdir the folder of a training run\n"
    )
    with pytest.raises(
        InputError, match="was trained with config.data.channel_mix='rgby', not 'green'"
    ):
        parse(["--mode=report", f"--workdir={runs[0]}", "--config.data.channel_mix=green"])
    for field, value, words in (
        ("report.compare", "a,b,c,d,e", "config.report.compare names 5 runs"),
        ("evaluate.runs", "a,b", "an ensemble, which has no report"),
    ):
        _, _, config = parse(["--mode=report", f"--workdir={runs[0]}", f"--config.{field}={value}"])
        with pytest.raises(InputError, match=words):
            read_runs(config, runs[0])


def test_figures_that_are_not_defined_are_empty_and_null(tmp_path):
    table = Table("t", ("a", "b", "c"), [[np.nan, np.float32(0.1), None], ["x", np.int64(3), True]])
    assert write_tables(tmp_path, [table]) == ["t.csv", "report.json"]
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n,0.1,\nx,3,True\n"
    found = json.loads((tmp_path / "report.json").read_text())["t"]
    assert found == [{"a": None, "b": 0.1, "c": None}, {"a": "x", "b": 3, "c": True}]


# Runs that lack something.


def test_a_run_without_intervals_lines_or_some_labels_has_a_page(browser, tmp_path):
    table = made_table(40)
    table.targets[:, :3] = 0
    run = run_of(table, lines=[], replicates=0)
    path = tmp_path / "report.html"
    path.write_text(run_page([run], [], with_pictures(run)), encoding="utf-8")
    browser.complaints.clear()
    browser.open(path)
    assert (
        browser.value("[...document.querySelectorAll('main section')].map(s => s.id)") == SECTIONS
    )
    said = browser.value("document.body.innerText")
    for words in (
        "config.evaluate.replicates is 0",
        "3 labels with no field here: ",
        "No metrics.jsonl",
        "not run",
    ):
        assert words in said, words
    assert "nan" not in said.lower().replace("nanometre", "") and not browser.complaints
    for one in run_tables([run], [], with_pictures(run)):
        assert all(len(row) == len(one.columns) for row in one.rows), one.name


def test_a_net_that_makes_no_mistake_says_so():
    run = run_of(made_table(60, skill=60.0))
    html = run_page([run], [], with_pictures(run))
    assert (
        "Not one label was wrongly predicted or missed" in html
        and "Missed in all: 0 labels" in html
    )


def test_lines_of_a_run_are_read_and_a_cut_one_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_lines(path) == []
    path.write_text('{"step": 1, "split": "train", "loss": 0.5, "note": "x"}\n{"step": 2, "spl')
    assert read_lines(path) == [{"step": 1, "split": "train", "loss": 0.5}]
    path.write_text('{"step": 1, "split": "train"}\n[]\n{"step": 2, "split": "train"}\n')
    with pytest.raises(InputError, match="line 2 is no record of a run"):
        read_lines(path)


def test_names_are_as_short_as_they_can_be():
    assert distinct_names([Path("/a/b/run"), Path("/a/c/run"), Path("/x")]) == [
        "b/run",
        "c/run",
        "x",
    ]
    assert distinct_names([Path("/a/run"), Path("/a/run")]) == ["run (1)", "run (2)"]


# Beside published figures, and beside each other.


def test_every_recipe_of_the_study_is_its_row_and_no_other_run_is():
    recipes = (
        all_cnn,
        inception_resnet_v2,
        densenet201,
        lowres,
        highres,
        lowres_first_nine,
        highres_first_nine,
    )
    found = [row_of(recipe.get_config()) for recipe in recipes]
    assert (
        found
        == [row.recipe for row in STUDY]
        == [recipe.__name__.removeprefix("configs.") for recipe in recipes]
    )
    assert row_of(best_512.get_config()) is None and row_of(quickstart.get_config()) is None
    config = lowres.get_config()
    config.data.name = "synthetic"
    assert row_of(config) is None


def test_our_row_stands_beside_the_published_figure():
    table = made_table(80, source_names=("kaggle_512",))
    config = lowres.get_config()
    config.evaluate.replicates = 20
    run = made_run("mine", config, [], table)
    rows = {
        row[1]: dict(zip(published_table([run]).columns, row, strict=True))
        for row in published_table([run]).rows
    }
    assert rows["lowres"]["published_macro_f1"] == 0.3987 and rows["highres"]["run"] is None
    for key in ("macro_f1", "micro_f1", "samples_f1", "accuracy"):
        assert rows["lowres"][key] == run.figures[key]
        assert [rows["lowres"][f"{key}_low"], rows["lowres"][f"{key}_high"]] == list(
            run.figures["intervals"][key]
        )
    html = published_section([run])
    assert (
        "definition doubtful" in html
        and "mine: 80 of validation" in html
        and html.count("not run") == 6
    )


def test_fields_are_matched_by_id_whatever_their_order_and_a_run_does_not_differ_from_itself():
    table = made_table(200)
    order = np.random.default_rng(3).permutation(200)
    cut = {
        name: getattr(table, name)[order]
        for name in ("scores", "targets", "groups", "folds", "source")
    }
    shuffled = replace(table, ids=[table.ids[i] for i in order], **cut)
    same = compare(run_of(table), run_of(shuffled, "other"))
    assert same.fields == 200 and same.unlike == 0
    assert all(row["difference"] == 0 and row["p_value"] == 1 for row in same.figures.values())

    worse = compare(run_of(table), run_of(made_table(200, seed=1, skill=1.0), "worse"))
    row = worse.figures["macro_f1_crossfit"]
    assert row["difference"] == pytest.approx(row["b"] - row["a"]) and row["difference"] > 0.1
    assert row["interval"][0] > 0 and row["p_value"] <= 2 / 41


def test_only_shared_labels_and_fields_with_the_same_labels_are_compared():
    table, nine = made_table(200), made_table(200, seed=1)
    cut = {name: getattr(nine, name)[..., :9] for name in ("scores", "targets", "thresholds")}
    nine = replace(nine, **cut, label_ids=tuple(range(9)))
    nine.targets[:5, 0] = 1 - nine.targets[:5, 0]
    mine, other = run_of(table), run_of(nine, "nine")
    found = compare(mine, other)
    assert found.label_ids == tuple(range(9)) and (found.fields, found.unlike) == (195, 5)
    theirs = f1_score(nine.targets[5:], nine.scores[5:] > 0.5, average="macro", zero_division=0)
    ours = f1_score(
        table.targets[5:, :9], table.scores[5:, :9] > 0.5, average="macro", zero_division=0
    )
    np.testing.assert_allclose([found.figures["macro_f1"][k] for k in "ab"], [theirs, ours])

    html = run_page([mine, other], [found], with_pictures(mine))
    assert "5 fields that the two datasets label otherwise" in html
    elsewhere = compare(
        mine, replace(other, table=replace(nine, ids=[f"g{i}" for i in range(200)]))
    )
    assert elsewhere.fields == 0 and "They share no field" in differences_section(mine, [elsewhere])


def test_average_precision_of_a_label_is_sklearns():
    run = run_of(made_table())
    for row, scores, borne in zip(
        run.figures["per_label"], run.table.scores.T, run.table.targets.T, strict=True
    ):
        if borne.any():
            assert row["average_precision"] == pytest.approx(average_precision_score(borne, scores))
