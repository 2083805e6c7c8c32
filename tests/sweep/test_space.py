"""What a recipe may declare to be searched, and what is refused in one line."""

import sys

import pytest

from hpa_jax import main as command
from hpa_jax.config import Config
from hpa_jax.errors import InputError
from hpa_jax.recipes.load import load_recipe
from hpa_jax.sweep import Choice, Range
from hpa_jax.sweep.space import contains, load_search_space, recipe_values, to_json, with_values

RECIPE = """
from hpa_jax.config import Config
from hpa_jax.sweep import Choice, Range

def get_config():
    return Config()

def search_space():
    return {space}
"""


def declared(tmp_path, space):
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE.format(space=space))
    return load_search_space(str(path), Config())


def test_ranges_take_the_type_of_their_setting(tmp_path):
    space = declared(
        tmp_path,
        "{'model.dropout': Range(0, 0.9), 'data.batch_size': Range(8, 64, log=True), "
        "'optim.name': Choice(('adam', 'sgd'))}",
    )
    assert space["model.dropout"] == Range(0.0, 0.9) and type(space["model.dropout"].low) is float
    assert type(space["data.batch_size"].low) is int
    assert to_json(space)["optim.name"] == {"values": ["adam", "sgd"]}
    own = recipe_values(space, Config())
    assert own == {"model.dropout": 0.5, "data.batch_size": 32, "optim.name": "adam"}
    assert contains(space, own)
    assert not contains(space, own | {"data.batch_size": 65})
    changed = with_values(Config(), {"data.batch_size": 9, "optim.name": "sgd"})
    assert (changed.data.batch_size, changed.optim.name) == (9, "sgd")


@pytest.mark.parametrize(
    "space, reason",
    [
        ("{}", "no dict of settings"),
        ("[1]", "no dict of settings"),
        ("1 / 0", "ZeroDivisionError"),
        ("{'optim.learning_rate': Range(1, 2)}", "'optim.learning_rate' is no setting"),
        ("{'optim.lr': (1, 2)}", "no Range and no Choice"),
        ("{'optim.lr': Range(-1.0, 2.0)}", "config.optim.lr=-1.0 is out of range"),
        ("{'optim.lr': Range(2.0, 1.0)}", "is empty"),
        ("{'optim.lr': Range(float('nan'), 1.0)}", "not finite"),
        ("{'model.dropout': Range(0.0, 0.5, log=True)}", "no logarithm"),
        ("{'data.batch_size': Range(1.5, 8)}", "not of type int"),
        ("{'augment.flips': Range(0, 1)}", "is no number; give a Choice"),
        ("{'optim.lr': Choice((0.1,))}", "two or more values"),
        ("{'optim.lr': Choice((0.1, 0.1))}", "a value twice"),
        ("{'optim.lr': Choice((1, 2))}", "no float"),
        ("{'augment.scale': Choice(((1.0, 1.0), (0.5, 1.0)))}", "it is a tuple"),
        ("{'data.fold': Range(0, 4)}", "cannot be searched"),
        ("{'checkpoint.metric': Choice(('macro_f1', 'accuracy'))}", "cannot be searched"),
    ],
)
def test_a_wrong_range_is_refused_with_the_recipe_and_the_setting(tmp_path, space, reason):
    with pytest.raises(InputError, match="recipe.py") as refused:
        declared(tmp_path, space)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_a_recipe_without_a_space_is_refused():
    with pytest.raises(InputError, match="declares no search_space"):
        load_search_space("configs/lowres.py", Config())


@pytest.mark.parametrize("recipe", ["best_512", "best_1024", "quickstart"])
def test_the_recipes_own_values_lie_in_their_ranges(recipe):
    path = f"configs/{recipe}.py"
    config = load_recipe(path)
    space = load_search_space(path, config)
    assert contains(space, recipe_values(space, config))


def test_a_choice_is_one_of_its_values():
    assert Choice((1, 2)).contains(2) and not Choice((1, 2)).contains(3)


@pytest.mark.parametrize(
    "module, reason",
    [
        ("optuna", "the package optuna, which is not installed: pip install 'hpa_jax[sweep]'"),
        ("sklearn", "the package scikit-learn, which is not installed: pip install"),
        ("_sqlite3", "SQLite, which this Python was built without"),
    ],
)
def test_what_is_not_installed_is_named_before_anything_is_made(
    tmp_path, monkeypatch, capsys, module, reason
):
    # Imports of it fail, whether it is installed or not.
    monkeypatch.setitem(sys.modules, module, None)
    flags = ["--mode=sweep", "--config=configs/quickstart.py", f"--workdir={tmp_path / 'new'}"]
    assert command.main(flags) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --mode=sweep needs {reason}") and error.count("\n") == 1
    assert not (tmp_path / "new").exists()
