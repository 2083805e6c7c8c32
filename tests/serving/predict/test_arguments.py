"""Flags of predicting and of finding neighbours: a wrong one is refused by its own name."""

import pytest

from hpa_jax.environment.flags import Parser
from hpa_jax.errors import InputError
from hpa_jax.serving.predict.arguments import add_images, count_flag


@pytest.mark.parametrize("flag", ["--batch=0", "--threads=x", "--nearest=1.5"])
def test_a_number_that_is_none_is_refused_under_the_name_of_its_flag(flag):
    parser = Parser(prog="neighbours")
    add_images(parser)
    parser.add_argument("--nearest", type=count_flag("--nearest"))
    with pytest.raises(InputError, match=f"^{flag}: give a number, from 1 to 1024$"):
        parser.parse_args([flag])


def test_a_flag_that_is_not_known_is_refused_with_the_way_to_those_that_are():
    with pytest.raises(InputError, match="--odd; see neighbours --help$"):
        Parser(prog="neighbours").parse_args(["--odd"])
