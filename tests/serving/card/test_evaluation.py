"""Figures of a card: only those of the checkpoint that is exported, and else the reason."""

import json

import pytest
from support.card_facts import EVALUATED, description, facts

from hpa_jax.serving.card.evaluation import read_evaluation
from hpa_jax.serving.card.write import model_card

LABELS = [label["name"] for label in description()["labels"]]
STEP = 8


def report(**changed):
    return json.loads((EVALUATED / "evaluation.json").read_text()) | changed


def read(folder, content):
    (folder / "evaluation.json").write_text(
        content if isinstance(content, str) else json.dumps(content)
    )
    return read_evaluation([folder / "none", folder], STEP, LABELS)


def test_figures_and_intervals_are_those_of_the_file(tmp_path):
    found = read(tmp_path, report())
    kept = report()
    by_name = {figure.name: figure for figure in found.figures}
    macro = by_name["macro F1, thresholds cross-fitted"]
    assert macro.value == kept["macro_f1_crossfit"]
    assert list(macro.interval) == kept["intervals"]["macro_f1_crossfit"]
    first = found.by_label["Nucleoplasm"]
    assert first.positives == kept["per_label"][0]["support"]
    assert list(first.f1.interval) == kept["per_label"][0]["f1_crossfit_interval"]
    # Labels that no image has are undefined.
    undefined = [row["name"] for row in kept["per_label"] if row["average_precision"] is None]
    assert undefined
    assert all(found.by_label[name].average_precision is None for name in undefined)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "not as this program writes it"),
        ("null", "not as this program writes it"),
        ("{}", "of an ensemble, or of scores without a net"),
        ({"checkpoint": STEP}, "not as this program writes it"),
        (report(checkpoint=7), "of checkpoint 7, and not of 8"),
        (report(checkpoint="x\ny" * 100), "of checkpoint x yx"),
        (report(per_label=report()["per_label"][:5]), "of other labels"),
        (report(per_label=None), "not as this program writes it"),
        (report(macro_f1="0.9"), "not as this program writes it"),
        (report(macro_f1=float("nan")), "not as this program writes it"),
        (report(intervals={"macro_f1": [1]}), "not as this program writes it"),
        (report(intervals={"macro_f1": [0.1, "a"]}), "not as this program writes it"),
        (report(images=float("inf")), "not as this program writes it"),
        (report(level="a lot"), "not as this program writes it"),
    ],
)
def test_what_is_no_evaluation_of_the_checkpoint_gives_a_reason(tmp_path, content, reason):
    with pytest.raises(ValueError, match=reason):
        read(tmp_path, content)
    card = model_card(facts(folders=[tmp_path]))
    assert "No figures: " in card
    assert "model-index" not in card
    assert card.count("| Nucleoplasm |") == 1


def test_without_an_evaluation_the_card_says_how_to_get_one(tmp_path):
    card = model_card(facts(folders=[tmp_path]))
    assert "had not been evaluated when it was exported" in card
    assert "`--mode=evaluate`" in card


def test_figures_that_flatter_are_marked(tmp_path):
    (tmp_path / "evaluation.json").write_text(
        json.dumps(report(learned_images=3, tta="symmetries"))
    )
    card = model_card(facts(folders=[tmp_path]))
    assert "has learnt from 3 of these images: the figures flatter it" in card
    assert "With test-time augmentation (symmetries)" in card


def test_an_evaluation_without_intervals_has_figures(tmp_path):
    found = read(tmp_path, report(intervals={}))
    assert all(figure.interval is None for figure in found.figures)
    assert "interval 0" not in model_card(facts(folders=[tmp_path])).split("---\n")[1]
