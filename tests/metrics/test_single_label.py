"""Images with one label each: scikit-learn's metrics, exact counts, and intervals by group."""

import json

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn import metrics as sklearn_metrics

from hpa_jax.errors import InputError
from hpa_jax.evaluation.console import format_table
from hpa_jax.metrics import bootstrap, single_label
from hpa_jax.metrics.single_label_summary import evaluate
from hpa_jax.serving import decision

LABELS = 6


def case(images=200, seed=0):
    """Scores and labels of six classes; the last has no images, the first is never predicted."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(LABELS - 1, size=images)
    logits = rng.normal(0, 1, (images, LABELS))
    logits[np.arange(images), labels] += 1.5
    logits[:, 0] -= 20
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return scores.astype(np.float32), labels, np.eye(LABELS, dtype=np.uint8)[labels]


def test_every_metric_is_scikit_learns():
    scores, labels, targets = case()
    report = evaluate(scores, targets, replicates=0)
    predicted = scores.argmax(1)
    every = list(range(LABELS))
    matrix = sklearn_metrics.confusion_matrix(labels, predicted, labels=every)
    np.testing.assert_array_equal(report["confusion"], matrix)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, predicted),
        "mean_class_accuracy": sklearn_metrics.recall_score(
            labels, predicted, labels=every[:-1], average="macro", zero_division=0
        ),
        "macro_f1": sklearn_metrics.f1_score(
            labels, predicted, labels=every, average="macro", zero_division=0
        ),
        "log_loss": sklearn_metrics.log_loss(labels, scores, labels=every),
        "macro_auc": np.mean(
            [sklearn_metrics.roc_auc_score(labels == k, scores[:, k]) for k in every[:-1]]
        ),
    }
    for name, value in expected.items():
        assert report[name] == pytest.approx(value, abs=1e-6), name
    from_matrix = single_label.metrics_from_matrix(matrix)
    assert set(from_matrix) == set(single_label.METRICS)
    for name, value in from_matrix.items():
        assert value == pytest.approx(report[name], abs=1e-12), name
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    for k, row in enumerate(report["per_label"]):
        found = [row["precision"], row["recall"], row["f1"], row["support"], row["predicted"]]
        np.testing.assert_allclose(
            found, [precision[k], recall[k], f1[k], support[k], matrix[:, k].sum()]
        )
    json.dumps(report, allow_nan=False)


def test_balanced_accuracy_of_labels_that_all_occur():
    scores, labels, targets = case(seed=1)
    scores, targets = scores[:, :-1], targets[:, :-1]
    scores = scores / scores.sum(1, keepdims=True)
    expected = sklearn_metrics.balanced_accuracy_score(labels, scores.argmax(1))
    report = evaluate(scores, targets, replicates=0)
    assert report["mean_class_accuracy"] == pytest.approx(expected, abs=1e-12)


def test_intervals_are_those_of_drawing_groups_again():
    """Specimens have one label each, as those of cells have: some draws lack a label."""
    scores, labels, targets = case(60, seed=2)
    groups = 3 * labels + np.arange(60) % 3
    report = evaluate(scores, targets, groups, replicates=80)
    _, groups = np.unique(groups, return_inverse=True)
    assert report["groups"] == 15
    weights = bootstrap.bootstrap_weights(15, range(80), seed=0)
    predicted = scores.argmax(1)
    drawn = {"accuracy": [], "mean_class_accuracy": []}
    for column in weights.T:
        rows = np.repeat(np.arange(60), column[groups])
        drawn["accuracy"].append(sklearn_metrics.accuracy_score(labels[rows], predicted[rows]))
        drawn["mean_class_accuracy"].append(
            np.mean([(predicted[rows] == k)[labels[rows] == k].mean() for k in set(labels[rows])])
        )
    for name, values in drawn.items():
        np.testing.assert_allclose(
            report["intervals"][name], np.quantile(values, [0.025, 0.975]), atol=1e-12
        )
    alone = evaluate(scores, targets, replicates=80)
    assert alone["intervals"]["accuracy"] != report["intervals"]["accuracy"]


def test_sources_have_their_own_metrics():
    scores, labels, targets = case(60, seed=3)
    source = np.arange(60) % 2
    names = ("one", "two", "none")
    report = evaluate(scores, targets, source=source, source_names=names, replicates=20)
    first, second, third = report["per_source"]
    right = scores.argmax(1) == labels
    assert first["accuracy"] == pytest.approx(right[::2].mean())
    assert second["intervals"]["accuracy"] and third == {"name": "none", "images": 0}


def test_counts_on_sharded_devices_are_the_matrix():
    scores, labels, targets = case(64, seed=4)
    mask = np.arange(64) < 59
    mesh = jax.make_mesh((8, 1), ("data", "space"), axis_types=(AxisType.Auto,) * 2)
    arrays = (np.log(scores), targets, mask)
    batch = jax.device_put(arrays, NamedSharding(mesh, P("data")))
    found = jax.jit(single_label.matrix_counts)(*batch)
    assert found.dtype == np.int32
    expected = sklearn_metrics.confusion_matrix(
        labels[mask], scores[mask].argmax(1), labels=range(LABELS)
    )
    np.testing.assert_array_equal(found, expected)


def test_one_decision_everywhere_the_first_of_equal_ones():
    scores = np.array([[0.25, 0.5, 0.25], [0.4, 0.2, 0.4], [1 / 3] * 3], np.float32)
    expected = [[False, True, False], [True, False, False], [True, False, False]]
    np.testing.assert_array_equal(single_label.decide(scores), expected)
    exported = {"decision": "argmax", "thresholds": None}
    np.testing.assert_array_equal(decision.decide(exported, scores), expected)
    np.testing.assert_array_equal(decision.nearness(exported, scores), scores)
    assert not decision.is_single_label({"thresholds": [0.5] * 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, t: (s, t | np.eye(LABELS, dtype=np.uint8)[[0] * len(t)]), "the first .* row "),
        (lambda s, t: (s, np.zeros_like(t)), "200 of 200 have none or several, .* row 0 with 0"),
        (lambda s, t: (s / 2, t), "row 0 sums to 0.5, .*apply a softmax first"),
    ],
)
def test_other_arrays_are_refused(change, message):
    scores, _, targets = case()
    with pytest.raises(InputError, match=message):
        evaluate(*change(scores, targets))


def test_the_terminal_shows_labels_totals_and_the_matrix():
    scores, _, targets = case()
    report = evaluate(scores, targets, replicates=20)
    lines = format_table(report).splitlines()
    assert all(f"label_{k}" in lines[1 + k] for k in range(LABELS))
    text = "\n".join(lines)
    low, high = (f"{end:.3f}"[1:] for end in report["intervals"]["accuracy"])
    assert f"accuracy {report['accuracy']:.4f} [{low}, {high}]" in text
    assert "threshold" not in text.replace("no threshold", "")
    for row, line in zip(report["confusion"], lines[-LABELS:], strict=True):
        assert line.split()[-LABELS:] == [str(count) for count in row]
