"""Which labels a dataset has: a named set, the names in a file, or those found in the csv."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hpa_jax.data.label_list import read_names
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError
from hpa_jax.labels import LABEL_SETS, Vocabulary, named

FROM_CSV = "csv"


def resolve(given: str, names_in_csv: Callable[[], Sequence[str]]) -> Vocabulary:
    """The vocabulary that `--labels` asks for.

    Args:
      given: the name of a set, `csv`, or a file with a name in each line, in the order of the ids.
      names_in_csv: finds the names in the csv.

    Raises:
      InputError: there is no such set or file, or its names cannot be those of labels.
    """
    if given in LABEL_SETS:
        return LABEL_SETS[given]
    if given == FROM_CSV:
        name = FROM_CSV
        labels = tuple(names_in_csv())
    else:
        path = Path(local_path(given))
        name = path.stem
        labels = read_names(path, "--labels", (*LABEL_SETS, FROM_CSV))
    if name in LABEL_SETS:
        # A file of other names must not pass for the set.
        name = f"own_{name}"
    try:
        return named(labels, name)
    except ValueError as error:
        raise InputError(
            f"--labels={given} {error}; give a name in each line, each once, in the order of the "
            "ids"
        ) from None
