"""What people read of a model card."""

from hpa_jax.folders.export_manifest import (
    BIOIMAGE,
    DESCRIPTION,
    FORWARD,
    GOLDEN,
    MANIFEST,
    ONNX,
    PARAMETERS,
    TORCHVISION,
)
from hpa_jax.serving.card.evaluation import Evaluation, Figure
from hpa_jax.serving.card.facts import Facts
from hpa_jax.serving.card.markdown import escape, table
from hpa_jax.serving.card.preparation import preparation_text
from hpa_jax.serving.card.snippets import jax_snippet, onnx_snippet, torchvision_snippet
from hpa_jax.serving.decision import is_single_label

NOT_FOR_DIAGNOSIS = "Not for diagnosis."

LABELS_HEADER = "label"
"""What the first column of the table of labels is called; `write.py` finds the table by it."""

# Of a file that may lie beside the card, what is in it.
_FILES = {
    ONNX: "the net for onnxruntime and other programs: preprocessing inside, any batch size",
    FORWARD: "the same as StableHLO, for JAX",
    PARAMETERS: "parameters and batch statistics, float32",
    TORCHVISION: "the weights as torchvision's module loads them",
    BIOIMAGE: "a package for bioimage.io: model.onnx, test arrays, their description",
    DESCRIPTION: "labels, thresholds, preparation of images, settings of the training, as JSON",
    GOLDEN: "an input, and the outputs that belong to it",
    MANIFEST: "SHA-256 of all of these",
}

# Of each net its title and arXiv number.
_PAPERS = {
    "densenet": ("Huang et al. 2017, Densely Connected Convolutional Networks", "1608.06993"),
    "resnet": ("He et al. 2016, Deep Residual Learning for Image Recognition", "1512.03385"),
    "inception": ("Szegedy et al. 2017, Inception-v4, Inception-ResNet", "1602.07261"),
    "convnext": ("Liu et al. 2022, A ConvNet for the 2020s", "2201.03545"),
    "all_cnn": ("Springenberg et al. 2015, Striving for Simplicity", "1412.6806"),
}
ATLAS_PAPER = (
    "Thul et al. 2017, A subcellular map of the human proteome",
    "10.1126/science.aal3321",
)
CHALLENGE_PAPER = (
    "Ouyang et al. 2019, Analysis of the Human Protein Atlas Image Classification competition",
    "10.1038/s41592-019-0658-6",
)


def papers(facts: Facts) -> list[tuple[str, str]]:
    """What to cite for a net: texts and DOIs."""
    found = [ATLAS_PAPER, CHALLENGE_PAPER]
    nets = facts.parts or (facts.net,)
    for start, (text, number) in _PAPERS.items():
        if any(net.startswith(start) for net in nets):
            found.append((text, f"10.48550/arXiv.{number}"))
    return found


def body(facts: Facts) -> str:
    """The card without its head, as Markdown."""
    parts = [
        f"# {facts.task}: {facts.net}, {facts.size} px",
        _summary(facts),
        f"> **{NOT_FOR_DIAGNOSIS}** This is a research tool. It was not validated for samples of "
        "patients, and no decision about a person may rest on it.",
        "## What it is, and what it is not",
        _limits(facts),
        "## Labels",
        _labels(facts),
        "## Evaluation",
        _evaluation(facts),
        "## How images must be prepared",
        preparation_text(facts),
        "## How to run it",
        _running(facts),
        "## Validation",
        _validation(facts),
        "## Training",
        _training(facts),
        "## Files",
        _files(facts),
        "## Licence and citation",
        _licence(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(facts: Facts) -> str:
    provenance = facts.description["provenance"]
    labels = f"the probability of each of {len(facts.labels)} labels"
    what = f"an image of fluorescence microscopy {labels}"
    if facts.is_of_the_atlas:
        what = (
            "a field of view of fluorescence microscopy, in the four channels of the Human Protein "
            f"Atlas, {labels}: where in its cells the protein is"
        )
    return (
        f"A net that gives {what}. Trained and exported with hpa_jax "
        f"{escape(provenance['hpa_jax'])}, from checkpoint {provenance['checkpoint']}."
    )


def _limits(facts: Facts) -> str:
    labels = "several labels or none"
    unknown = "gets a label that is, or none"
    if is_single_label(facts.description):
        labels = "exactly one label"
        unknown = "gets one that is, and may look sure"
    other = "An image of anything"
    if facts.is_of_the_atlas:
        other = "A protein in a place"
    lines = [
        f"- It labels an image as a whole, with {labels}. It finds no single cell and measures no "
        "amount of protein.",
        f"- It has learnt from {_datasets(facts)}, and knows nothing else: not other stains, "
        "microscopes, magnifications, cell lines or tissues. It answers all the same, without a "
        "warning, when it is shown them.",
        f"- It knows no other labels. {other} that is not in the table below {unknown}.",
        f"- A probability is a score. {_how_sure(facts)}",
    ]
    if facts.pretrained:
        lines.append(
            f"- Training started from the weights {escape(facts.pretrained)}; their biases, and "
            "terms, may be in it."
        )
    return "\n".join(lines)


def _how_sure(facts: Facts) -> str:
    temperature = facts.description.get("temperature", 1.0)
    if temperature == 1:
        return (
            "How far it can be taken at its word is the calibration error below, and holds for "
            "images like those that were evaluated."
        )
    fitted_on = facts.description["temperature_fitted_on"]
    return (
        f"It is at the temperature {temperature:.4g}, fitted on the split {escape(fitted_on)} "
        "(arXiv:1706.04599), and holds for images like those."
    )


def _datasets(facts: Facts) -> str:
    names = ", ".join(escape(name) for name in facts.datasets)
    word = "dataset" if len(facts.datasets) == 1 else "datasets"
    return f"the {word} {names}"


def _labels(facts: Facts) -> str:
    if is_single_label(facts.description):
        return _single_labels(facts)
    header = [LABELS_HEADER, "threshold"]
    evaluation = facts.evaluation
    if evaluation is not None:
        header += ["positives", "F1", "average precision"]
    rows = []
    for name, threshold in zip(facts.labels, facts.description["thresholds"], strict=True):
        row = [escape(name), f"{threshold:.4g}"]
        if evaluation is not None:
            figures = evaluation.by_label[name]
            row += [str(figures.positives), _cell(figures.f1), _cell(figures.average_precision)]
        rows.append(row)
    fitted_on = facts.description["thresholds_fitted_on"]
    origin = "They were not fitted"
    if fitted_on:
        origin = f"They were fitted on the split {escape(fitted_on)}"
    lines = [
        f"A label is predicted where its probability is above its threshold. {origin}. An image "
        f"above no threshold gets {escape(facts.description['empty'])}.",
        "",
        table(header, rows),
    ]
    if evaluation is not None:
        lines += ["", "F1 at cross-fitted thresholds; in brackets the interval; see below."]
    return "\n".join(lines)


def _single_labels(facts: Facts) -> str:
    header = [LABELS_HEADER]
    evaluation = facts.evaluation
    if evaluation is not None:
        header += ["images", "found", "F1"]
    rows = []
    for name in facts.labels:
        row = [escape(name)]
        if evaluation is not None:
            figures = evaluation.by_label[name]
            found = _cell(figures.recall) if figures.positives else "no images"
            row += [str(figures.positives), found, _cell(figures.f1)]
        rows.append(row)
    lines = [
        "Each image has exactly one of these labels: the most probable is predicted. The "
        "probabilities of an image sum to 1, and no threshold is applied.",
        "",
        table(header, rows),
    ]
    if evaluation is not None:
        lines += ["", "Found: the fraction of the label's images; in brackets the interval."]
    return "\n".join(lines)


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "undefined"
    text = f"{figure.value:.3f}"
    if figure.interval is not None:
        low, high = figure.interval
        text += f" ({low:.3f} to {high:.3f})"
    return text


def _evaluation(facts: Facts) -> str:
    evaluation = facts.evaluation
    if evaluation is None:
        return (
            f"No figures: {escape(facts.why_no_evaluation)}. They come from `--mode=evaluate`, "
            "before the export."
        )
    lines = [_evaluated_on(evaluation), ""]
    rows = [(figure.name, _cell(figure)) for figure in evaluation.figures]
    lines.append(table(("metric", f"value ({100 * evaluation.level:g} % interval)"), rows))
    note = "Intervals are from a bootstrap over independent images."
    if not is_single_label(facts.description):
        note += " Cross-fitted: each image is decided by thresholds that were fitted on others."
    lines += ["", note]
    return "\n".join(lines)


def _evaluated_on(evaluation: Evaluation) -> str:
    text = (
        f"On the split {escape(evaluation.split)} of {escape(evaluation.dataset)}: "
        f"{evaluation.images} images, {evaluation.groups} of them independent."
    )
    if evaluation.learned_images:
        text += (
            f" **The net has learnt from {evaluation.learned_images} of these images: the figures "
            "flatter it.**"
        )
    if evaluation.learned_images == 0:
        text += " The net has learnt from none of them."
    if evaluation.tta:
        text += (
            f" With test-time augmentation ({escape(evaluation.tta)}), which is not part of this "
            "export: expect a little less."
        )
    return text


def _running(facts: Facts) -> str:
    parts = []
    if MANIFEST in facts.files:
        commands = ["python -m hpa_jax.serving predict EXPORT IMAGES --out=scores.csv"]
        if ONNX in facts.files:
            commands.append("python -m hpa_jax.serving serve EXPORT")
            commands.append("python -m hpa_jax.serving page EXPORT page.html")
        parts += [
            "With hpa_jax, a folder of images to a table; and where there is `model.onnx`, a "
            "server, and a page that works without one:",
            _code("\n".join(commands), language="sh"),
        ]
    if ONNX in facts.files:
        parts += ["With onnxruntime and nothing of this project:", _code(onnx_snippet(facts))]
    if FORWARD in facts.files:
        parts += ["With JAX:", _code(jax_snippet(facts))]
    if TORCHVISION in facts.files:
        parts += ["With PyTorch and torchvision:", _code(torchvision_snippet(facts))]
    return "\n\n".join(parts)


def _code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _validation(facts: Facts) -> str:
    if MANIFEST in facts.files:
        return (
            "`python -m hpa_jax.serving check EXPORT` compares every file with its SHA-256 and "
            "reproduces the golden output on your machine. For images of your own with labels, "
            "build a dataset and use `--mode=evaluate`: it gives the figures above with intervals."
        )
    return (
        "The test arrays are an input and what the net makes of it; reproduce them before use. On "
        "images of your own with labels, compute the figures above, and compare."
    )


def _training(facts: Facts) -> str:
    provenance = facts.description["provenance"]
    trained = provenance["config"]
    start = escape(facts.pretrained) if facts.pretrained else "random weights"
    net = f"{facts.net}, {facts.head}"
    if facts.parts:
        start = f"finished runs, which it keeps: {escape(trained['fusion']['runs'])}"
        net = f"{facts.net} of {', '.join(map(escape, facts.parts))}, one head"
    rows = [
        ("datasets", ", ".join(escape(name) for name in facts.datasets)),
        ("net and head", net),
        ("started from", start),
        ("image size", f"{facts.size} px"),
        ("channel mix", escape(facts.description["channel_mix"]["name"])),
        ("optimizer", escape(trained["optim"]["name"])),
        ("steps", escape(provenance["checkpoint"])),
        ("images per step", escape(trained["data"]["batch_size"])),
    ]
    text = table(("setting", "value"), rows)
    if DESCRIPTION in facts.files:
        text += "\n\nAll settings are in `model.json`, under `provenance`."
    return text


def _files(facts: Facts) -> str:
    rows = []
    for name in _FILES:
        if name in facts.files:
            rows.append((f"`{name}`", _FILES[name]))
    return table(("file", "content"), rows)


def _licence(facts: Facts) -> str:
    if facts.licence:
        text = f"Weights: {facts.licence}."
    else:
        text = (
            "Whoever exported this net stated no licence for it. Ask before you use or pass it on; "
            "images of the Human Protein Atlas, if it was trained on them, are under CC BY-SA."
        )
    if facts.authors:
        text += f" Authors: {', '.join(escape(name) for name in facts.authors)}."
    lines = [text, ""]
    for title, doi in papers(facts):
        lines.append(f"- {title}, [doi:{doi}](https://doi.org/{doi})")
    return "\n".join(lines)
