"""SWEEP/sweep.db: Optuna's storage in SQLite, made complete or not at all, and checked when opened.

SQLite keeps what was committed through a kill or a power cut. What it does not keep is a file that
is only half made, so a new one is made beside its place and renamed. What is read back is checked
once at each start: a damaged page would otherwise come up in the middle of a search.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy.exc

from hpa_jax.errors import InputError, RunStopped, one_line
from hpa_jax.files import complete_file, remove_partial_files_of
from hpa_jax.sweep.record import TRIALS

DATABASE = "sweep.db"

BUSY_S = 120
"""So long one worker waits for the write of another."""

_NAME = "sweep"

# What reading something else than a sweep's database raises: Optuna and SQLAlchemy check little.
_UNREADABLE = (
    sqlalchemy.exc.SQLAlchemyError,
    optuna.exceptions.OptunaError,
    sqlite3.Error,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AssertionError,
)


class SweepStorage:
    """The database of a sweep, open; the caller holds the sweep's lock meanwhile.

    Args:
      folder: of the sweep; it exists.
      pruner: Optuna's, of the study.

    Raises:
      InputError: it cannot be read, or is gone.
      RunStopped: it cannot be written.
    """

    def __init__(self, folder: Path, pruner: optuna.pruners.BasePruner):
        self._path = folder / DATABASE
        self._pruner = pruner
        # For SQLite an empty file is a new database.
        if not self._path.exists() or not self._path.stat().st_size:
            self._refuse_orphans(folder / TRIALS)
            self._create()
        try:
            _check_pages(self._path)
            self._backend, self.study = self._load(self._path)
            # Reads everything once.
            self.study.get_trials(deepcopy=False)
        except _UNREADABLE as error:
            raise InputError(
                f"{self._path} cannot be read ({one_line(error, limit=160)}): it is damaged, or "
                "no sweep's; put it back as it was, or choose another --workdir"
            ) from None

    def trial(self, number: int) -> optuna.trial.Trial:
        """A trial that was begun, to be gone on with."""
        study_id = self._backend.get_study_id_from_name(_NAME)
        trial_id = self._backend.get_trial_id_from_study_id_trial_number(study_id, number)
        return optuna.trial.Trial(self.study, trial_id)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """An error of the database as one line: a full disk, or one that has gone.

        Raises:
          RunStopped: says which.
        """
        try:
            yield
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            cause = error.__cause__ or error
            # SQLite's own words, without the statement that SQLAlchemy adds.
            cause = getattr(cause, "orig", None) or cause
            raise RunStopped(
                f"{self._path} cannot be used: {one_line(cause, limit=160)}; remove the cause and "
                "start the same command again"
            ) from error

    def _refuse_orphans(self, trials: Path) -> None:
        """Without the database nobody knows which of the runs there were complete, and of what."""
        if any(trials.glob("*/config.json")):
            raise InputError(
                f"{self._path} is missing or empty, and {trials} has runs of a sweep: put the file "
                "back, or choose another --workdir"
            )

    def _create(self) -> None:
        remove_partial_files_of(self._path)
        with self.explained(), complete_file(self._path) as path:
            backend, _ = self._load(path)
            backend.remove_session()
            backend.engine.dispose()

    def _load(self, path: Path) -> tuple[optuna.storages.RDBStorage, optuna.Study]:
        def connect() -> sqlite3.Connection:
            return sqlite3.connect(path.absolute(), timeout=BUSY_S, check_same_thread=False)

        # The path is given by `connect`: in a URL `?` and `{` would mean something else.
        backend = optuna.storages.RDBStorage(
            f"sqlite:///{DATABASE}", engine_kwargs={"creator": connect}
        )
        study = optuna.create_study(
            storage=backend,
            study_name=_NAME,
            direction="maximize",
            pruner=self._pruner,
            load_if_exists=True,
        )
        return backend, study


def _check_pages(path: Path) -> None:
    """Raises sqlite3.Error where a page of the file is damaged."""
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)
