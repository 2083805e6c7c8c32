"""How images must be prepared for a net, in words: those of model.json's `preparation`."""

from typing import Any

from hpa_jax.serving.card.facts import Facts
from hpa_jax.serving.card.markdown import number, table

_STAINS = (
    ("red", "microtubules"),
    ("green", "the protein of interest"),
    ("blue", "the nucleus"),
    ("yellow", "the endoplasmic reticulum"),
)
_ASPECTS = {
    "stretch": "stretched to {side}, whatever their aspect",
    "pad": "padded with black to a square, then resized to {side}",
    "crop": "cropped to the square in their middle, then resized to {side}",
}


def preparation_text(facts: Facts) -> str:
    """Paragraphs and lists of Markdown."""
    side = f"{facts.size} x {facts.size} px"
    found = facts.description.get("preparation") or {}
    lines = [
        f"The net takes `uint8 [B, {facts.size}, {facts.size}, 4]`: of each field of view four "
        "images of one channel, stacked in this order.",
        "",
        _channel_table(found.get("channels")),
        "",
    ]
    if found:
        lines += ["Images were prepared for training like this, and must be for predicting:", ""]
    else:
        lines += [
            "How the images of the training set were prepared was not stored with it. Whatever "
            "was done to them must be done to yours:",
            "",
        ]
    steps = [*_steps(found), _size_step(found, side)]
    steps.append("Nothing else: channel mix and normalisation are inside the net.")
    for position, step in enumerate(steps, start=1):
        lines.append(f"{position}. {step}")
    intensities = _intensity_table(found.get("intensities"))
    if intensities:
        lines += [
            "",
            "The images that the net has seen, prepared, have these values (fractions of 255). "
            "Where yours lie far outside, expect nothing of its answers.",
            "",
            intensities,
        ]
    lines += [
        "",
        "`python -m hpa_jax.serving predict` does all of this to a folder of image files.",
    ]
    return "\n".join(lines)


def _channel_table(channels: Any) -> str:
    rows = []
    for name, stain in _STAINS:
        seen = "not known"
        if channels is not None:
            seen = "yes" if name in channels else "no: black"
        rows.append((name, stain, seen))
    return table(("channel", "in the Atlas", "seen by the net"), rows)


def _steps(found: dict[str, Any]) -> list[str]:
    steps = []
    white = found.get("white")
    if white:
        words = ", ".join(
            f"{number(value)} in files of {bits} bits" for bits, value in sorted(white.items())
        )
        steps.append(f"To 8 bits: the value that becomes 255 is {words}.")
    pixel_size = found.get("pixel_size")
    rescaled_to = found.get("rescaled_to")
    if rescaled_to:
        steps.append(f"Rescaled to {number(rescaled_to)} micrometres a pixel.")
    elif pixel_size:
        steps.append(f"Not rescaled: the files have {number(pixel_size)} micrometres a pixel.")
    if found.get("edge"):
        steps.append(f"Shrunk or enlarged so that the longer side has {found['edge']} px.")
    return steps


def _size_step(found: dict[str, Any], side: str) -> str:
    how = _ASPECTS.get(found.get("aspect", "stretch"), _ASPECTS["stretch"])
    size = how.format(side=side)
    return f"{size[0].upper()}{size[1:]}: by area where they shrink, else bilinearly."


def _intensity_table(intensities: Any) -> str:
    if not intensities:
        return ""
    quantiles = list(next(iter(intensities.values()))["quantiles"])
    rows = []
    for channel, values in intensities.items():
        row = [channel, number(values["mean"]), number(values["std"])]
        row += [number(values["quantiles"][name]) for name in quantiles]
        rows.append(row)
    header = ("channel", "mean", "std", *(f"{100 * float(name):g} %" for name in quantiles))
    return table(header, rows)
