"""The HTML of the page: one file that works from disk, or the page of a server.

    render(description)                                  of a server: it asks /v1/predict
    render(description, "file", net=Net(runtime, model)) a file that makes no request at all

Design:
- The policy in its head allows what is named there and nothing else: the one script and the one
  style by their digests, and blobs, by which the page starts its own thread and the runtime. A page
  from disk may open no connection (`default-src 'none'` without `connect-src`).
- What is in `description` stands in the page as JSON, and is shown as text alone.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from dataclasses import dataclass

from hpa_jax.serving.page.assets import app_script, engine_script, source
from hpa_jax.serving.page.runtime import Runtime

MODES = ("server", "file")

_SHOWN = (
    "labels",
    "decision",
    "thresholds",
    "thresholds_fitted_on",
    "input",
    "empty",
    "preparation",
    "calibration",
)
"""Of model.json, what the page goes by."""

_TEXTS = {
    "server": {
        "accept": "image/png,image/jpeg,image/tiff,.png,.jpg,.jpeg,.tif,.tiff",
        "formats": "PNG, JPG or TIFF",
        "privacy": "They are sent to this server, and to nobody else.",
    },
    "file": {
        "accept": "image/png,image/jpeg,.png,.jpg,.jpeg",
        "formats": "PNG or JPG",
        "privacy": "They stay on this machine: this page makes no request.",
    },
}


@dataclass(frozen=True)
class Net:
    """What a page needs to run a net itself.

    Attributes:
      runtime: onnxruntime-web.
      model: the bytes of model.onnx.
    """

    runtime: Runtime
    model: bytes


def render(description: dict, mode: str = "server", *, net: Net | None = None) -> str:
    """The page of a net, as HTML.

    Args:
      description: the contents of model.json, of any version.
      mode: `server`: scores come from `v1/predict` beside the page; `file`: from `net`.
      net: with `file` alone.

    Returns:
      a whole document.
    """
    if mode not in MODES or (mode == "file") != (net is not None):
        having = "without" if net is None else "with"
        raise ValueError(f"mode {mode!r} {having} a net")
    script = app_script()
    style = source("page.css")
    values = {
        **_TEXTS[mode],
        "title": "Where in the cell is this protein?",
        "policy": policy(script, style, mode),
        "style": style,
        "script": script,
        "licence": "",
        "data": _data(description, mode, net),
    }
    if net is not None:
        values["licence"] = f"<pre>{html.escape(source('licence_of_runtime.txt'))}</pre>"
    template = source("page.html")
    # Once and from left to right: what is put in is not looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def policy(script: str, style: str, mode: str) -> str:
    """The Content-Security-Policy of a page."""
    rules = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "worker-src": "blob:",
        # The empty icon: without it, a browser asks a server for one.
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    if mode == "file":
        rules["script-src"] += " blob: 'wasm-unsafe-eval'"
    else:
        rules["connect-src"] = "'self'"
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(description: dict, mode: str, net: Net | None) -> str:
    """What lies in the page for its scripts, in elements that no browser runs."""
    page = {"mode": mode, "description": _shown(description)}
    parts = [
        _element("page-data", "application/json", _json(page)),
        _element("engine", "text/plain", engine_script()),
    ]
    if net is not None:
        packed = {
            "runtime-script": net.runtime.script,
            "runtime-wasm": net.runtime.wasm,
            "model": net.model,
        }
        for name, content in packed.items():
            parts.append(_element(name, "text/plain", _packed(content)))
    return "\n".join(parts)


def _shown(description: dict) -> dict:
    shown = {}
    for name in _SHOWN:
        if name in description:
            shown[name] = description[name]
    provenance = description.get("provenance") or {}
    shown["title"] = _title(provenance)
    shown["provenance"] = {
        "checkpoint": provenance.get("checkpoint"),
        "hpa_jax": provenance.get("hpa_jax"),
    }
    return shown


def _title(provenance: dict) -> str:
    """What the net is called: its backbone and head."""
    model = (provenance.get("config") or {}).get("model") or {}
    name = model.get("name") or "a net"
    head = model.get("head")
    return f"{name}, {head} head" if head else name


def _json(value: dict) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _element(name: str, kind: str, text: str) -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>'


def _packed(content: bytes) -> str:
    # Without the time, so that one net gives one page.
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
