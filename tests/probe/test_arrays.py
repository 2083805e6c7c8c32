"""Anyone's embeddings from the command line, and what is refused."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, coverage_error

from hpa_jax import main as command
from hpa_jax.metrics import bootstrap
from hpa_jax.probe import examples
from hpa_jax.probe.examples import Examples, standardized
from hpa_jax.probe.scoring import score
from hpa_jax.probe.splits import divide

ROWS = 120


@pytest.fixture
def folder(tmp_path):
    """Embeddings of which two labels can be told; groups of four rows."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(ROWS, 6)).astype(np.float32)
    targets = np.stack([features[:, 0] > 0.5, features[:, 1] > 0], axis=1).astype(np.uint8)
    groups = np.arange(ROWS) // 4
    np.save(tmp_path / "e.npy", features)
    np.save(tmp_path / "t.npy", targets)
    np.save(tmp_path / "g.npy", groups)
    np.save(tmp_path / "s.npy", np.arange(ROWS) // 40)
    return tmp_path


def call(folder, *more, **settings):
    given = {"embeddings": folder / "e.npy", "targets": folder / "t.npy"} | settings
    flags = [f"--config.probe.{name}={value}" for name, value in given.items()]
    return command.main(
        [
            "--mode=probe",
            f"--workdir={folder / 'out'}",
            "--config.evaluate.replicates=20",
            "--config.probe.epochs=3",
            "--config.probe.batch_size=32",
            *flags,
            *more,
        ]
    )


def test_an_array_is_probed_by_groups(folder, capsys):
    (folder / "names.txt").write_text("Nucleoli\nCytosol\n")
    status = call(
        folder,
        groups=folder / "g.npy",
        splits=folder / "s.npy",
        labels=folder / "names.txt",
        lr=0.01,
        seeds=2,
    )
    assert status == 0
    report = json.loads((folder / "out" / "probe.json").read_text())
    (row,) = report["rows"]
    assert report["images"] == {"train": 40, "validation": 40, "test": 40}
    assert report["groups"] == 10
    assert report["divided_groups"] == 0
    assert [fit["seed"] for fit in row["fits"]] == [0, 1]
    assert row["macro_average_precision"] == pytest.approx(np.mean(row["by_seed"]))
    low, high = row["intervals"]["macro_average_precision"]
    assert low <= row["macro_average_precision"] <= high
    assert [label["name"] for label in report["per_label"]] == ["Nucleoli", "Cytosol"]
    assert row["macro_average_precision"] > report["guessing"]
    shown = capsys.readouterr()
    assert "macro average precision" in shown.out
    assert "was still improving in its last epoch" in shown.err
    # Its own result may be written over, another's not.
    (folder / "out" / "probe.json").write_text("{}")
    assert call(folder) == 2
    assert "is there and is not written over" in capsys.readouterr().err
    (folder / "out" / "probe.json").unlink()
    assert call(folder, "--config.evaluate.level=1") == 2
    assert "intervals of level 1.0: must be" in capsys.readouterr().err


def test_groups_on_two_sides_and_labels_never_fitted_are_told_of(folder, capsys):
    np.save(folder / "s.npy", np.arange(ROWS) % 3)
    targets = np.load(folder / "t.npy")
    targets[np.arange(ROWS) % 3 == 0, 1] = 0
    np.save(folder / "t.npy", targets)
    assert call(folder, groups=folder / "g.npy", splits=folder / "s.npy", epochs=1) == 0
    shown = capsys.readouterr().err
    assert "warning: groups with test images and images to fit on or to choose with: 30; " in shown
    assert "warning: labels of test images that no image to fit on has: label_1; " in shown
    assert json.loads((folder / "out" / "probe.json").read_text())["divided_groups"] == 30


def test_one_group_has_no_interval(folder, capsys):
    np.save(folder / "g.npy", np.zeros(ROWS, int))
    assert call(folder, groups=folder / "g.npy", splits=folder / "s.npy", epochs=1) == 0
    assert "warning: all test images are of one group" in capsys.readouterr().err
    report = json.loads((folder / "out" / "probe.json").read_text())
    assert report["replicates"] == 0
    assert report["rows"][0]["intervals"] == {}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"targets": ""}, "config.probe.targets=FILE.npy is missing"),
        ({"embeddings": "no.npy"}, "no.npy: cannot read the embeddings: No such file"),
        ({"embeddings": "no.h5ad"}, "no.h5ad is no file"),
        ({"embeddings": "text.h5ad"}, "cannot be read as AnnData"),
        ({"embeddings": "flat.npy"}, "expected numbers [N, F]"),
        ({"embeddings": "nan.npy"}, "of 1 of 120 images are not finite, the first of them row 7"),
        ({"targets": "few.npy"}, "few.npy has 5 rows"),
        ({"targets": "e.npy"}, "expected 0 and 1 [N, L]"),
        ({"targets": "none.npy"}, "there is nothing to probe for"),
        ({"splits": "g.npy"}, "0 train, 1 validation, 2 test"),
        ({"splits": "zeros.npy"}, "no image to probe with in the split validation"),
        ({"groups": "two.npy"}, "2 groups cannot be divided into train, validation, test"),
        ({"groups": "few.npy"}, "expected a whole number for each of 120 images"),
        ({"export": "x"}, "are both given"),
        (
            {"embeddings": "", "export": "x"},
            "goes with config.probe.embeddings, which is not given",
        ),
        ({"embeddings": ""}, "holds no run (no config.json)"),
    ],
)
def test_what_cannot_be_probed_is_one_line(folder, capsys, change, line):
    features = np.load(folder / "e.npy")
    (folder / "text.h5ad").write_text("no table")
    np.save(folder / "flat.npy", features[0])
    np.save(folder / "few.npy", np.eye(5, 2))
    np.save(folder / "none.npy", np.zeros((ROWS, 2)))
    np.save(folder / "zeros.npy", np.zeros(ROWS, int))
    np.save(folder / "two.npy", np.arange(ROWS) % 2)
    features[7, 1] = np.nan
    np.save(folder / "nan.npy", features)
    settings = {}
    for name, value in change.items():
        settings[name] = folder / value if value else value
    assert call(folder, **settings) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_anndata_is_probed_as_the_array_in_it(folder):
    anndata = pytest.importorskip("anndata")
    sparse = pytest.importorskip("scipy.sparse")
    anndata.AnnData(sparse.csr_matrix(np.load(folder / "e.npy"))).write_h5ad(folder / "e.h5ad")
    found = []
    for name in ("e.npy", "e.h5ad"):
        assert call(folder, embeddings=folder / name, splits=folder / "s.npy", epochs=1) == 0
        report = json.loads((folder / "out" / "probe.json").read_text())
        found.append(report["rows"])
    assert found[0] == found[1]


def test_groups_stay_together_and_fractions_hold():
    groups = np.repeat(np.arange(200), np.random.default_rng(0).integers(1, 9, 200))
    splits = divide(groups, 3)
    for group in range(200):
        assert len(set(splits[groups == group])) == 1
    fractions = np.bincount(splits) / len(splits)
    np.testing.assert_allclose(fractions, [0.7, 0.1, 0.2], atol=0.02)
    assert (splits != divide(groups, 4)).any()
    for sizes in ([1, 1, 1], [50, 1, 1], [1, 50, 1], [1, 1, 50]):
        assert set(divide(np.repeat(np.arange(3), sizes), 0)) == {0, 1, 2}


def test_standardized_by_the_rows_to_fit_on_alone(monkeypatch):
    monkeypatch.setattr(examples, "_ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    features = rng.normal(5, 3, (50, 4)).astype(np.float32)
    features[:, 2] = 0.1
    splits = np.repeat(np.array([0, 2], np.int8), 25)
    found = standardized(features, splits)
    np.testing.assert_allclose(found[:25].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found[:25].std(axis=0), [1, 1, 0, 1], atol=1e-5)
    changed = features.copy()
    changed[25:] += 1
    np.testing.assert_array_equal(standardized(changed, splits)[:25], found[:25])


def test_intervals_are_of_groups_drawn_again():
    """The same draws by hand: each group's rows as often as it was drawn, by scikit-learn."""
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 3)) < 0.4).astype(np.uint8)
    scores = np.clip(0.3 * targets + rng.random((60, 3)) * 0.7, 0, 1).astype(np.float32)
    targets[:5] = 0  # a group of images without labels
    groups = np.arange(60) // 5
    found = score([scores, scores[:, ::-1]], targets, groups, replicates=4, seed=9)
    weights = bootstrap.bootstrap_weights(12, range(4), 9)
    for replicate in range(4):
        rows = np.repeat(np.arange(60), weights[groups, replicate])
        of_seeds = []
        for of_seed in (scores, scores[:, ::-1]):
            of_seeds.append(average_precision_score(targets[rows], of_seed[rows], average="macro"))
        expected = np.mean(of_seeds)
        assert found.draws["macro_average_precision"][replicate] == pytest.approx(expected)
        labeled = rows[targets[rows].any(axis=1)]
        of_seeds = []
        for of_seed in (scores, scores[:, ::-1]):
            of_seeds.append(coverage_error(targets[labeled], of_seed[labeled]))
        assert found.draws["coverage_error"][replicate] == pytest.approx(np.mean(of_seeds))
    # A label that no image has is not ranked among the others.
    none = np.zeros((60, 1), np.uint8)
    wider = score(
        [np.hstack([none + np.float32(1), scores])],
        np.hstack([none, targets]),
        groups,
        replicates=0,
        seed=0,
    )
    labeled = targets.any(axis=1)
    assert wider.metrics["coverage_error"] == pytest.approx(
        coverage_error(targets[labeled], scores[labeled])
    )
    assert found.by_seed[0] == pytest.approx(average_precision_score(targets, scores))


def test_divided_groups_are_counted_once():
    found = Examples(
        features={},
        targets=np.zeros((6, 1)),
        groups=np.array([1, 1, 2, 2, 3, 3]),
        splits=np.array([0, 2, 1, 2, 2, 2]),
        label_names=("a",),
    )
    assert found.divided_groups() == 2
