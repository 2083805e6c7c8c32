"""The HTML of the page: what its policy allows, and that nothing in it can be code by accident."""

import base64
import gzip
import hashlib
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from support.page_nets import description, small_net

from hpa_jax.serving.page import assets
from hpa_jax.serving.page.render import Net, render
from hpa_jax.serving.page.runtime import Runtime
from hpa_jax.serving.page.weights import halve

NET = Net(Runtime(b"script </script>", b"\0asm"), b"model")


def digest(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@pytest.mark.parametrize(("mode", "net"), [("server", None), ("file", NET)])
def test_the_policy_names_the_script_and_the_style_and_little_else(mode, net):
    html = render(description(64), mode, net=net)
    policy = re.search(r'Security-Policy" content="([^"]*)"', html)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert "'unsafe-inline'" not in policy
    assert "'unsafe-eval'" not in policy
    script = re.search(r'<script type="module">(.*?)</script>', html, re.DOTALL)[1]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert digest(script) in rules["script-src"] and digest(style) in rules["style-src"]
    # From disk no connection at all may be opened.
    assert rules.get("connect-src") == (None if mode == "file" else "'self'")


def test_hostile_names_stay_text():
    name = "</script><img src=x onerror=alert(1)>"
    labels = [{"id": 0, "name": name}]
    html = render(description(64) | {"labels": labels}, "file", net=NET)
    assert name not in html
    data = re.search(r'id="page-data">(.*?)</script>', html, re.DOTALL)[1]
    assert json.loads(data)["description"]["labels"] == labels


def test_what_is_packed_comes_out_again():
    html = render(description(64), "file", net=NET)
    for identifier, content in (("runtime-script", b"script </script>"), ("model", b"model")):
        text = re.search(f'id="{identifier}">(.*?)</script>', html)[1]
        assert gzip.decompress(base64.b64decode(text)) == content
    assert html == render(description(64), "file", net=NET)


def test_a_page_of_a_server_holds_no_net():
    html = render(description(64))
    assert 'id="model"' not in html and 'id="runtime-wasm"' not in html
    assert len(html) < 200_000


def test_the_licence_of_the_runtime_stands_in_the_page():
    html = render(description(64), "file", net=NET)
    assert "Copyright (c) Microsoft Corporation" in html
    assert "Permission is hereby granted, free of charge" in html


def test_the_purpose_stands_in_the_page():
    assert "not for diagnosis" in render(description(64))


@pytest.mark.parametrize("older", ["calibration", "empty", "provenance", "thresholds_fitted_on"])
def test_exports_of_older_versions_say_less(older):
    whole = description(64)
    del whole[older]
    assert "Where in the cell" in render(whole)


@pytest.mark.parametrize(("mode", "net"), [("server", NET), ("file", None), ("other", None)])
def test_a_mode_and_its_net_belong_together(mode, net):
    with pytest.raises(ValueError, match="mode"):
        render(description(64), mode, net=net)


def test_every_input_has_a_label_and_every_id_is_one():
    html = render(description(64))
    body = html[html.index("<body>") : html.index('<script type="application/json"')]
    ids = re.findall(r'\bid="([^"]+)"', body)
    assert len(ids) == len(set(ids))
    labelled = set(re.findall(r'<label[^>]* for="([^"]+)"', body))
    within = set(re.findall(r"<label>(?:(?!</label>).)*<input id=\"([^\"]+)\"", body, re.DOTALL))
    inputs = set(re.findall(r'<input id="([^"]+)"', body))
    assert inputs == labelled | within


def test_sources_are_all_used_and_none_is_long():
    from importlib import resources

    folder = resources.files("hpa_jax.serving.page") / "sources"
    for name, used in (("engine", assets.ENGINE), ("app", assets.APP)):
        there = {entry.name for entry in (folder / name).iterdir()}
        assert there == set(used)
        for file in used:
            lines = assets.source(f"{name}/{file}").splitlines()
            assert len(lines) <= 300 and max(map(len, lines)) <= 110, file


def test_halved_parameters_are_half_as_many_bytes():
    rng = np.random.default_rng(0)
    whole = small_net(64)
    half = halve(whole)
    assert len(half) < 0.6 * len(whole)
    onnx.checker.check_model(half, full_check=True)
    images = rng.integers(0, 256, (2, 64, 64, 4), np.uint8)
    outputs = []
    for model in (whole, half):
        session = onnxruntime.InferenceSession(model)
        outputs.append(session.run(["probabilities"], {"images": images})[0])
    assert 0 < np.abs(outputs[0] - outputs[1]).max() < 2e-3


def luminance(colour):
    """Of a colour #rrggbb or #rgb, as WCAG 2 has it."""
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    parts = []
    for start in (0, 2, 4):
        value = int(digits[start : start + 2], 16) / 255
        parts.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


TEXTS = [
    ("ink", "paper"),
    ("ink", "card"),
    ("soft", "paper"),
    ("soft", "card"),
    ("accent", "paper"),
    ("accent", "card"),
    ("on-accent", "accent"),
    ("found", "found-card"),
    ("warn", "paper"),
    ("warn", "warn-card"),
]
CONTROLS = [("edge", "paper"), ("edge", "card"), ("accent", "card"), ("found", "card")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(scheme):
    blocks = re.findall(r":root \{(.*?)\}", assets.source("page.css"), re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+);", blocks[scheme == "dark"]))
    for pairs, least in ((TEXTS, 4.5), (CONTROLS, 3)):
        for front, back in pairs:
            light, dark = sorted((luminance(colours[front]), luminance(colours[back])))[::-1]
            assert (light + 0.05) / (dark + 0.05) >= least, (front, back)
