"""Images of which nobody knows the labels, and images that have none: told apart and stored."""

import csv
import json

import pytest
from support.image_files import KAGGLE, gray_png, write

from hpa_jax.data.catalog import load_dataset, read_digests
from hpa_jax.errors import InputError
from hpa_jax.main import main as hpa_jax_main
from hpa_jax.report.dataset.load import read_dataset, shown_splits
from hpa_jax.report.dataset.overview import overview_section
from tfds_builder.hpa.__main__ import main
from tfds_builder.hpa.files import layouts

PATTERN = "--pattern=train/{id}_{channel}.png"


def build(tmp_path, *flags):
    return main([*flags, f"--data_dir={tmp_path}", f"--manual_dir={tmp_path}", "--workers=1"])


def table(tmp_path, name):
    with open(tmp_path / f"hpa/{name}/3.0.0/images.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_negative_images(tmp_path, capsys):
    write(tmp_path, KAGGLE, gray_png, "Id,Target\na_1,3\nb_2,\n")
    assert build(tmp_path, "--config=kaggle_512") == 2
    assert "line 3 has no label; " in (line := capsys.readouterr().err)
    assert "--no_label=negative" in line
    assert build(tmp_path, "--config=kaggle_512", "--no_label=negative") == 0
    rows = {
        row["id"]: (row["labels"], row["labels_known"]) for row in table(tmp_path, "kaggle_512")
    }
    assert rows == {"a_1": ("3", "1"), "b_2": ("", "1")}
    dataset = load_dataset(tmp_path, "kaggle_512", split="all")
    assert dataset.targets().sum(axis=1).tolist() in ([0, 1], [1, 0])
    assert build(tmp_path, "--config=kaggle_512") == 2
    assert "no_label negative, not None" in capsys.readouterr().err


def test_images_without_labels(tmp_path, capsys):
    write(tmp_path, KAGGLE, gray_png, "Id\na_1\nb_2\n")
    flags = ("--config=folder", "--csv=train.csv", PATTERN)
    assert build(tmp_path, *flags) == 0
    out = capsys.readouterr().out
    assert "2 images (unlabelled 2)" in out and "nobody knows the labels of all images" in out
    assert "--mode=predict" in out and "Train on it" not in out
    rows = table(tmp_path, "folder")
    assert {(row["split"], row["fold"], row["labels_known"]) for row in rows} == {
        ("unlabelled", "-1", "0")
    }
    for split in ("all", "unlabelled"):
        dataset = load_dataset(tmp_path, "folder", split=split, labels_needed=False)
        assert sorted(dataset.ids()) == ["a_1", "b_2"] and not dataset.labels_known()
        some = load_dataset(tmp_path, "folder", split=split, labels_needed=False, label_ids=(2, 3))
        assert len(some) == 2
        with pytest.raises(InputError, match="its labels are unknown.*--mode=predict scores"):
            load_dataset(tmp_path, "folder", split=split)
    with pytest.raises(InputError, match="no split 'train': choose one of unlabelled, all"):
        load_dataset(tmp_path, "folder", split="train")
    assert set(read_digests(tmp_path, "folder").splits) == {"unlabelled"}
    metadata = json.loads((tmp_path / "hpa/folder/3.0.0/metadata.json").read_text())
    assert set(metadata["digests"]) == {"unlabelled"}
    # The report calls them by that name, and not by that of the split that has no fold either.
    summary, _ = read_dataset(tmp_path, "folder")
    assert shown_splits([summary])[summary.split_indices()[0]] == summary.split_of(0)
    assert summary.split_of(0) == "unlabelled"
    card = overview_section([summary], [], {}).data["cards"][0]
    assert card.note == "train 0 · validation 0 · test 0 · unlabelled 2"


def test_some_images_without_labels_beside_others(tmp_path, capsys):
    names = [f"n{i}" for i in range(8)]
    rows = "".join(f"{name},{'' if i in (2, 5) else i % 2}\n" for i, name in enumerate(names))
    write(tmp_path, KAGGLE, gray_png)
    for name in names:
        for number, colour in enumerate(("red", "green", "blue", "yellow")):
            data = gray_png(colour, 40 * names.index(name) + number)
            (tmp_path / f"train/{name}_{colour}.png").write_bytes(data)
    # The same image once without and once with a label.
    for colour in ("red", "green", "blue", "yellow"):
        data = (tmp_path / f"train/n2_{colour}.png").read_bytes()
        (tmp_path / f"train/n3_{colour}.png").write_bytes(data)
    (tmp_path / "train.csv").write_text("Id,Target\n" + rows)
    assert build(tmp_path, "--config=kaggle_512", "--no_label=unknown") == 0
    out = capsys.readouterr().out
    assert "nobody knows the labels of 2 images, in the split `unlabelled`, to predict on." in out
    assert "Train on it" in out
    rows = {row["id"]: row for row in table(tmp_path, "kaggle_512")}
    unlabelled = {name for name, row in rows.items() if row["split"] == "unlabelled"}
    assert unlabelled == {"n2", "n5"}
    assert rows["n2"]["group"] != rows["n3"]["group"]
    assert len(load_dataset(tmp_path, "kaggle_512", split="all")) == 6
    scored = load_dataset(tmp_path, "kaggle_512", split="unlabelled", labels_needed=False)
    assert sorted(scored.ids()) == ["n2", "n5"]
    assert set(read_digests(tmp_path, "kaggle_512").splits) >= {"train", "unlabelled"}
    # The statistics of the build are of all eight.
    summary, _ = read_dataset(tmp_path, "kaggle_512")
    assert len(summary) == 6 and summary.histogram is not None


def test_a_csv_with_other_columns_is_asked_about(tmp_path):
    write(tmp_path, KAGGLE, gray_png, "Id,well\na_1,A1\nb_2,A2\n")
    arguments = {"csv": "train.csv", "pattern": "train/{id}_{channel}.png"}
    with pytest.raises(InputError) as error:
        layouts.folder(tmp_path, **arguments).examples()
    line = str(error.value)
    assert "has no column Target in its first line; its columns are Id, well; name yours" in line
    assert "--label_columns" in line and "--unlabelled" in line
    for known in ({"unlabelled": True}, {"group_column": "well"}):
        listing = layouts.folder(tmp_path, **arguments, **known).examples()
        assert not any(example.labels_known for example in listing.examples)
    with pytest.raises(InputError, match="has no column Traget in its first line; "):
        layouts.folder(tmp_path, **arguments, label_column="Traget").examples()
    # Labels that are there are not looked at if that is what was asked for.
    (tmp_path / "train.csv").write_text("Id,Target\na_1,99\nb_2,\n")
    listing = layouts.folder(tmp_path, **arguments, unlabelled=True).examples()
    assert len(listing.examples) == 2 and not listing.faults


def test_kaggle_512_needs_labels(tmp_path):
    write(tmp_path, KAGGLE, gray_png, "Id\na_1\nb_2\n")
    with pytest.raises(InputError, match="no column Target .* --config=folder reads"):
        layouts.kaggle_512(tmp_path).examples()


@pytest.mark.slow
def test_a_net_scores_them_and_is_not_evaluated_on_them(tmp_path, capsys):
    flags = ["--config=synthetic_32", "--images=30", f"--data_dir={tmp_path}", "--workers=1"]
    assert main(flags) == 0
    write(tmp_path, KAGGLE, gray_png, "Id\na_1\nb_2\n")
    (tmp_path / "train/b_2_red.png").rename(tmp_path / "train/b 2_red.png")
    for colour in ("green", "blue", "yellow"):
        (tmp_path / f"train/b_2_{colour}.png").rename(tmp_path / f"train/b 2_{colour}.png")
    (tmp_path / "train.csv").write_text("Id\na_1\nb 2\n")
    assert build(tmp_path, "--config=folder", "--csv=train.csv", PATTERN, "--name=new") == 0
    run = [f"--workdir={tmp_path / 'run'}", f"--config.data.data_dir={tmp_path}"]
    small = ["--config.model.name=densenet_tiny", "--config.data.batch_size=8"]
    steps = ["--config.train.steps=2", "--config.train.eval_every=2"]
    recipe = ["--config=configs/quickstart.py", "--config.data.name=synthetic_32"]
    assert hpa_jax_main([*recipe, *run, *small, *steps]) == 0
    new = ["--config.data.name=new", "--config.data.eval_split=all"]
    assert hpa_jax_main(["--mode=predict", *run, *new]) == 0
    with open(tmp_path / "run/predictions.csv", newline="") as file:
        assert sorted(row["id"] for row in csv.DictReader(file)) == ["a_1", "b 2"]
    assert not (tmp_path / "run/scores/all.npz").exists()
    capsys.readouterr()
    assert hpa_jax_main(["--mode=evaluate", *run, *new]) == 2
    assert "its labels are unknown, as those of 2 of 2 images" in capsys.readouterr().err
