"""The source of S-BIAD2443: its two tables, and images of one file or of a file a channel."""

import functools
from dataclasses import dataclass
from typing import ClassVar

from hpa_jax.errors import InputError
from hpa_jax.images import store
from hpa_jax.images.store import Refused
from hpa_jax.labels import CHANNELS
from tfds_builder.hpa.files import s_biad2443
from tfds_builder.hpa.files.source import Files
from tfds_builder.hpa.lists.catalog import MASTER, TRAINED_ON
from tfds_builder.hpa.sources import Listing, Progress, no_progress


@dataclass(frozen=True)
class JoinedFiles(Files):
    """`Files` whose csv is made of the two tables of S-BIAD2443."""

    split_flag: ClassVar[str] = "--split=published"

    def settings(self) -> dict:
        """See `Source.settings`."""
        settings = super().settings()
        settings["group_column"] = self.columns.group
        settings["pattern"] = list(self.images.patterns)
        if not self.images.is_single:
            settings["channels"] = dict(zip(CHANNELS, self.images.names, strict=True))
        return settings

    def examples(self, progress: Progress = no_progress) -> Listing:
        """See `Source.examples`."""
        listing = super().examples(progress)
        return listing._replace(notes=(*self._joined().notes, *listing.notes))

    def _read_csv(self) -> tuple[bytes, str]:
        return self._joined().data, str(self.manual_dir / MASTER)

    def _joined(self) -> s_biad2443.Joined:
        """The two tables as one.

        Raises:
          InputError: one of them is missing, cannot be read or is another table.
        """
        files, _ = self._places.open()
        tables = []
        for name in (MASTER, TRAINED_ON):
            try:
                tables.append(store.read(files, name))
            except Refused as refused:
                reason, _, _ = str(refused).partition("; ")
                raise InputError(
                    f"{files.where(name)} {reason}; fetch it: python -m tfds_builder.hpa.lists "
                    f"--list=s_biad2443 --to={self.manual_dir}"
                ) from None
        return _join(*tables, str(self.manual_dir))


# Not kept in the source itself, which is sent to worker processes. By the contents: a table that
# was changed is read anew.
_join = functools.lru_cache(maxsize=1)(s_biad2443.join)
