"""Published results beside ours."""

from support.made_reports import made_sections, made_table

from configs import (
    all_cnn,
    best_512,
    densenet201,
    highres,
    highres_first_nine,
    inception_resnet_v2,
    lowres,
    lowres_first_nine,
    quickstart,
)
from hpa_jax.report.run.load import make_run
from hpa_jax.report.run.published import STUDY, study_recipe


def test_every_recipe_of_the_study_is_its_row_and_no_other_run_is():
    recipes = (
        all_cnn,
        inception_resnet_v2,
        densenet201,
        lowres,
        highres,
        lowres_first_nine,
        highres_first_nine,
    )
    found = [study_recipe(recipe.get_config()) for recipe in recipes]
    assert found == [row.recipe for row in STUDY]
    assert found == [recipe.__name__.removeprefix("configs.") for recipe in recipes]
    assert study_recipe(best_512.get_config()) is None
    assert study_recipe(quickstart.get_config()) is None
    config = lowres.get_config()
    config.data.name = "synthetic"
    assert study_recipe(config) is None


def test_the_baselines_head_is_known_by_its_old_and_its_new_name():
    for head in ("seed", "hpa_densenet"):
        config = lowres.get_config()
        config.model.head = head
        assert study_recipe(config) == "lowres"


def test_our_row_stands_beside_the_published_result():
    table = made_table(80, source_names=("kaggle_512",))
    config = lowres.get_config()
    config.evaluate.replicates = 20
    run = make_run("mine", config, [], table)
    section = made_sections([run])[1]
    rows = {row["recipe"]: row for row in section.tables[0].records()}
    assert rows["lowres"]["published_macro_f1"] == 0.3987 and rows["highres"]["run"] is None
    for key in ("macro_f1", "micro_f1", "samples_f1", "accuracy"):
        assert rows["lowres"][key] == run.metrics[key]
        interval = [rows["lowres"][f"{key}_low"], rows["lowres"][f"{key}_high"]]
        assert interval == list(run.metrics["intervals"][key])
    shown = [row for row in section.data["rows"] if row["place"]]
    assert len(shown) == 1 and shown[0]["recipe"] == "configs/lowres.py"
    assert shown[0]["place"] == "mine: 80 of validation of kaggle_512"
