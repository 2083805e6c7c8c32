"""Text on pages: escaped, clipped, visible; numbers in words."""

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from support.made_reports import HOSTILE, made_dataset, made_dataset_page, made_run, made_table

import hpa_jax.report
from hpa_jax.report import html
from hpa_jax.report.html import Finding, Section, decimal, page, percent, plural, short_number
from hpa_jax.report.run.overview import overview_section

TEMPLATES = Path(hpa_jax.report.__file__).parent / "templates"


def rendered(template: str, **data) -> str:
    return html._ENVIRONMENT.from_string(template).render(data)


def test_text_is_escaped_clipped_and_visible():
    assert rendered("{{ x }}", x="<a href='x'>&\"") == "&lt;a href=&#39;x&#39;&gt;&amp;&#34;"
    assert rendered("{{ x }}", x="a\u202eb\nc\x00") == "a\ufffdb\ufffdc\ufffd"
    assert len(rendered("{{ x }}", x="x" * 10_000)) == 300
    assert rendered("{{ x }}{{ n }}", x="é", n=3) == "é3"


def test_a_name_that_a_template_misspells_is_an_error():
    with pytest.raises(UndefinedError):
        rendered("{{ misspelt }}")


def test_no_template_turns_escaping_off():
    templates = list(TEMPLATES.rglob("*.html"))
    assert len(templates) > 15
    for path in templates:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|<script|\son\w+=|https?:", text), path


def test_hostile_text_is_escaped_in_every_section():
    text = made_dataset_page([made_dataset(), made_dataset(name=HOSTILE)])
    assert "<script" not in text and "<img src=http" not in text
    assert "&amp;\ufffd\ufffd" in text  # the ampersand of HOSTILE before its invisible characters
    assert text.count("&lt;script&gt;") > 100

    run = made_run(made_table(40, source_names=(HOSTILE,), split=HOSTILE), HOSTILE)
    sections = [overview_section([run])]
    text = page(HOSTILE, HOSTILE, sections)
    assert "<script" not in text and text.count("&lt;script&gt;") > 5


def test_a_finding_names_the_labels_and_links_its_section():
    finding = Finding("labels", "2 <labels>:", ["A & B", "C"], "Rare.", "--flag")
    section = Section("one", "One", "dataset/overview.html", {"cards": [], "findings": [finding]})
    text = " ".join(page("title", "subtitle", [section]).split())
    assert (
        "<b>2 &lt;labels&gt;:</b> A &amp; B, C. Rare. <code>--flag</code> "
        '<a href="#labels">see</a>' in text
    )


def test_numbers_in_words():
    assert [percent(x) for x in (0, 0.004, 0.25, 1)] == ["0%", "0.4%", "25%", "100%"]
    assert [short_number(n) for n in (9999, 12_000, 3_400_000)] == ["9999", "12k", "3M"]
    assert decimal(-0.1234, "+") == "\N{MINUS SIGN}0.123" and decimal(0.5, "+") == "+0.500"
    assert decimal(None) == decimal(float("nan")) == "–"
    assert [plural(n, "box", "boxes") for n in (0, 1, 2000)] == ["0 boxes", "1 box", "2,000 boxes"]
