"""The model card as its readers read it: YAML 1.1 and 1.2, Markdown, people."""

import re
from html.parser import HTMLParser

import pytest
import ruyaml
import yaml
from markdown_it import MarkdownIt
from support.card_facts import EVALUATED, description, facts
from support.strange_names import STRANGE

from hpa_jax.errors import InputError
from hpa_jax.serving.card.markdown import plain
from hpa_jax.serving.card.write import check_card, model_card


def split(card):
    """Head, as text, and body."""
    _, head, body = card.split("---\n", 2)
    return head, body


def strange_facts():
    labels = [{"id": number, "name": name} for number, name in enumerate(STRANGE)]
    changed = {
        "labels": labels,
        "thresholds": [0.5] * len(labels),
        "thresholds_fitted_on": STRANGE[11],
        "empty": STRANGE[21],
        "channel_mix": {"name": STRANGE[24], "matrix": [[1, 0, 0, 0]]},
    }
    provenance = description()["provenance"]
    provenance["config"]["data"]["sources"] = [name.replace(":", " ") for name in STRANGE]
    provenance["config"]["model"]["pretrained"] = STRANGE[17]
    return facts(authors=",".join(STRANGE), provenance=provenance, **changed)


class Page(HTMLParser):
    """What a browser would make of a card: tags, cells of tables, addresses."""

    def __init__(self, body):
        super().__init__()
        self.tags = set()
        self.addresses = set()
        self.tables = []
        self._in_cell = False
        # Raw HTML is let through, as the strictest test of what escapes.
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(body))

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses |= {value for name, value in attributes if name in ("href", "src")}
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self._in_cell = True
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if self._in_cell:
            self.tables[-1][-1][-1] += data


HARMLESS = set("h1 h2 p strong blockquote ul ol li a code pre table thead tbody tr th td".split())


def test_both_versions_of_yaml_read_the_same_head():
    head, _ = split(model_card(facts(licence="CC-BY-SA-4.0")))
    values = yaml.safe_load(head)
    assert ruyaml.YAML(typ="safe").load(head) == values
    assert values["license"] == "cc-by-sa-4.0"
    assert values["datasets"] == ["kept"]
    assert {"onnx", "pytorch", "jax"} <= set(values["tags"])
    (index,) = values["model-index"]
    (result,) = index["results"]
    assert result["task"]["type"] == values["pipeline_tag"] == "image-classification"
    assert result["dataset"] == {"name": "kept", "type": "kept", "split": "all"}
    metrics = {metric["name"].partition(";")[0]: metric for metric in result["metrics"]}
    macro = metrics["macro F1, thresholds cross-fitted"]
    assert macro["value"] == 0.110451
    assert macro["args"] == {"interval_level": 0.95, "interval": [0.086782, 0.127856]}
    assert macro["name"].endswith("95 % interval 0.087 to 0.128")


def test_a_person_reads_what_it_is_and_is_not():
    _, body = split(model_card(facts()))
    page = Page(body)
    assert "Not for diagnosis." in body
    assert page.tags <= HARMLESS
    labels = next(table for table in page.tables if table[0][0] == "label")
    assert len(labels) == 1 + 28
    first = ["Nucleoplasm", "0.2222", "7", "0.455 (0.200 to 0.692)", "0.485 (0.268 to 0.903)"]
    first[1] = f"{description()['thresholds'][0]:.4g}"
    assert labels[1] == first
    metrics = next(table for table in page.tables if table[0][0] == "metric")
    assert ["calibration error", "0.027 (0.022 to 0.049)"] in metrics
    assert "21 images, 18 of them independent" in body


def test_labels_of_ones_own_are_no_places_of_proteins():
    head, body = split(model_card(facts(vocabulary="own")))
    assert "protein-localization" not in yaml.safe_load(head)["tags"]
    assert "# Image classification: " in body
    assert "An image of anything that is not in the table" in body
    assert "Human Protein Atlas, the probability" not in body


def test_the_preparation_of_images_is_told_step_by_step():
    _, body = split(model_card(facts()))
    page = Page(body)
    channels = next(table for table in page.tables if table[0][0] == "channel")
    assert ["green", "the protein of interest", "yes"] in channels
    assert ["yellow", "the endoplasmic reticulum", "no: black"] in channels
    assert "255 is 4095 in files of 16 bits, 255 in files of 8 bits" in body
    assert "the longer side has 512 px" in body
    assert "padded with black to a square, then resized to 32 x 32 px" in body.lower()
    values = next(table for table in page.tables if table[0][1] == "mean")
    assert values[1] == ["green", "0.0523", "0.1012", "0", "0.0196", "0.4745"]


def test_a_net_whose_preparation_is_not_known_says_so():
    _, body = split(model_card(facts(preparation=None)))
    assert "was not stored with it" in body


def test_strange_names_stay_names():
    given = strange_facts()
    head, body = split(model_card(given))
    values = yaml.safe_load(head)
    assert ruyaml.YAML(typ="safe").load(head) == values
    assert values["license"] == "unknown"
    assert "model-index" not in values
    # What is no name of a dataset on the Hub is named in the text alone.
    assert values["datasets"] == ["no", "null", "1e3", "0o17", "2026-11-28", "www.example.org"]
    page = Page(body)
    assert page.tags <= HARMLESS
    assert all(address.startswith("https://doi.org/") for address in page.addresses)
    labels = next(table for table in page.tables if table[0][0] == "label")
    assert [row[0] for row in labels[1:]] == [plain(name) for name in STRANGE]
    assert not re.search(r"(?<!\\)www\.", body)
    assert all(line.isprintable() for line in body.split("\n"))


def test_a_card_with_another_threshold_is_refused():
    given = facts()
    card = model_card(given)
    threshold = f"| Nucleoplasm | {given.description['thresholds'][0]:.4g} |"
    assert threshold in card
    with pytest.raises(InputError, match="README.md does not say what the export is"):
        check_card(card.replace(threshold, "| Nucleoplasm | 0.9 |"), given)
    with pytest.raises(InputError):
        check_card(card.replace("license: unknown", "license: mit"), given)
    with pytest.raises(InputError):
        check_card(card.replace("Not for diagnosis.", ""), given)


def test_licence_and_authors_are_told_or_that_they_are_not():
    assert "stated no licence" in model_card(facts())
    card = model_card(facts(licence="MIT", authors="Ada L., Grace_H"))
    assert "Weights: MIT. Authors: Ada L., Grace_H." in card
    assert (EVALUATED / "evaluation.json").is_file()
