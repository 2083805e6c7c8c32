"""Which labels a dataset has: a named set, the names in a file, or those found in the csv."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hpa_jax.environment.causes import advice
from hpa_jax.environment.paths import local_path
from hpa_jax.errors import InputError, one_line
from hpa_jax.labels import LABEL_SETS, Vocabulary
from tfds_builder.hpa.files.csv_labels import plain

FROM_CSV = "csv"
_MOST_LABELS = 1000
_LONGEST_NAME = 200


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
        names = tuple(names_in_csv())
        _check(names, f"--labels={given}")
        return _named(FROM_CSV, names)
    path = Path(local_path(given))
    names = _read_names(path)
    _check(names, f"--labels={given}")
    return _named(path.stem, names)


def _named(name: str, labels: tuple[str, ...]) -> Vocabulary:
    """A known set, if these are its labels."""
    for known in LABEL_SETS.values():
        if known.labels == labels:
            return known
    if name in LABEL_SETS:
        raise InputError(
            f"--labels: the file {name} has other names than the set {name}; rename the file"
        )
    return Vocabulary(name, labels)


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        sets = ", ".join((*LABEL_SETS, FROM_CSV))
        raise InputError(
            f"--labels={path} is none of {sets}, and there is no such file; give one of them, or a "
            "file with the name of a label in each line"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"--labels={path} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(
            f"--labels={path} cannot be read ({one_line(error)}); {advice(error)}"
        ) from None
    names = []
    for line in text.splitlines():
        name = " ".join(line.split())
        if name and not name.startswith("#"):
            names.append(name)
    return tuple(names)


def _check(names: Sequence[str], where: str) -> None:
    if not 1 <= len(names) <= _MOST_LABELS:
        raise InputError(
            f"{where} has {len(names)} names; give 1 to {_MOST_LABELS}, one in each line"
        )
    seen = set()
    for name in names:
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise InputError(
                f"{where} has the name {name[:40]!r}; use up to {_LONGEST_NAME} characters that "
                "can be seen"
            )
        if plain(name) in seen:
            raise InputError(f"{where} has the name {name} twice; take one out")
        seen.add(plain(name))
        if name.isdigit():
            raise InputError(f"{where} has the name {name}, which would be an id; give names")
