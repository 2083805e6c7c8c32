"""Which split the images of an antibody are in, by the public lists of antibodies.

A list is a text file with an Atlas antibody in each line, HPA or CAB and six digits. Tables of the
Atlas's images often have the number alone, as the addresses of its images do. A number may be of an
HPA and of a CAB: it is looked up as both, and is in no list where the two are on different sides.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from hpa_jax.environment.causes import advice
from hpa_jax.errors import InputError, one_line
from tfds_builder.hpa.lists.catalog import PUBLIC_LISTS, ListFile, PublicList
from tfds_builder.hpa.sources import Example, Fault

# Of all lines of the copies that were seen; a line that is cut off has fewer.
_NAME = re.compile(r"(HPA|CAB)\d{6}")
_NUMBER = re.compile(r"\d{1,6}")
_KINDS = ("HPA", "CAB")
_SHOWN = 3


@dataclass(frozen=True)
class AntibodySplit:
    """A split by antibodies.

    Attributes:
      name: of the public list.
      digests: SHA-256 of each of its files, by name.
      split_of: the split of each antibody.
      remarks: where a file is not as the copies that are known, a line each.
    """

    name: str
    digests: dict[str, str]
    split_of: dict[str, str] = field(repr=False)
    remarks: tuple[str, ...] = ()

    def settings(self) -> dict:
        """What determines where images go, as JSON."""
        return {"name": self.name, "sha256": self.digests}

    def find(self, key: str) -> str:
        """The split of an antibody; empty where it is in no list.

        Args:
          key: HPA or CAB and six digits, in any case, or the number alone.
        """
        key = key.strip().upper()
        if not _NUMBER.fullmatch(key):
            return self.split_of.get(key, "")
        found = {self.split_of.get(f"{kind}{key:0>6}", "") for kind in _KINDS} - {""}
        return found.pop() if len(found) == 1 else ""

    def place(self, examples: list[Example]) -> tuple[list[Example], list[Fault], list[str]]:
        """Puts examples into splits by their group key, which is their antibody.

        Args:
          examples: of a source.

        Returns:
          those that are in a list, with their `split`; a fault for each of the others; and what the
          user should know, a line each.

        Raises:
          InputError: no antibody is in a list.
        """
        placed = []
        left_out = []
        missing: dict[str, int] = {}
        for example in examples:
            split = self.find(example.group_key)
            if split:
                placed.append(example._replace(split=split))
                continue
            missing[example.group_key] = missing.get(example.group_key, 0) + 1
            id = example.original_id or example.id
            reason = f"has no antibody, by which --split={self.name} places images"
            if example.group_key:
                reason = (
                    f"has the antibody {example.group_key}, in no list of --split={self.name}, or "
                    "in two by its number alone"
                )
            left_out.append(Fault(id, self.name, reason))
        if examples and not placed:
            raise self._nothing_placed(sorted(filter(None, missing)))
        return placed, left_out, self._notes(placed, missing)

    def _nothing_placed(self, keys: list[str]) -> InputError:
        advice = "name the column of the antibodies with --group_column"
        if not keys:
            return InputError(
                f"--split={self.name} goes by antibodies, and no image here has one; {advice}"
            )
        return InputError(
            f"--split={self.name} has none of the {len(keys)} group keys of these images, such as "
            f"{keys[0][:40]!r}, where an antibody is HPA000001 or its number; {advice}"
        )

    def _notes(self, placed: list[Example], missing: dict[str, int]) -> list[str]:
        used = {example.group_key for example in placed}
        line = f"--split={self.name}: {len(placed)} images of {len(used)} antibodies are placed"
        if not missing:
            return [f"{line}; all antibodies are in the lists.", *self.remarks]
        line = f"{line}; left out, see rejects.csv:"
        named = sorted(filter(None, missing))
        parts = []
        if named:
            images = sum(missing[key] for key in named)
            shown = ", ".join([*named[:_SHOWN], *(["..."] if len(named) > _SHOWN else [])])
            parts.append(f"{images} images of {len(named)} antibodies in no list ({shown})")
        if "" in missing:
            parts.append(f"{missing['']} images without an antibody")
        return [f"{line} {', '.join(parts)}.", *self.remarks]


def load(name: str, folder: Path) -> AntibodySplit:
    """The split of the lists in a folder, checked.

    Raises:
      InputError: a file is missing, or is no list of antibodies; or an antibody is in two of them.
    """
    public = PUBLIC_LISTS[name]
    contents = {file.name: _read(folder / file.name, name) for file in public.of_split()}
    return of_contents(public, contents)


def of_contents(public: PublicList, contents: dict[str, bytes]) -> AntibodySplit:
    """The split of the contents of the files of a list.

    Raises:
      InputError: as of `load`.
    """
    digests = {}
    split_of: dict[str, str] = {}
    file_of: dict[str, str] = {}
    remarks = []
    for file in public.of_split():
        data = contents[file.name]
        digests[file.name] = hashlib.sha256(data).hexdigest()
        listed = antibodies(data, file)
        remarks += _remarks(listed, file)
        for antibody in listed:
            if file_of.get(antibody, file.name) != file.name:
                raise InputError(
                    f"{antibody} is in {file_of[antibody]} and in {file.name}: an antibody is on "
                    "one side alone; fetch the lists again"
                )
            file_of[antibody] = file.name
            split_of[antibody] = file.split
    return AntibodySplit(public.name, digests, split_of, tuple(remarks))


def _remarks(listed: list[str], file: ListFile) -> list[str]:
    remarks = []
    if len(listed) != file.lines:
        remarks.append(
            f"{file.name} has {len(listed)} antibodies, and {file.lines} in the copies that are "
            "known: it is of another version, or cut off; name its digest beside any result."
        )
    twice = len(listed) - len(set(listed))
    if twice:
        remarks.append(f"{file.name} has {twice} antibodies that it had before.")
    return remarks


def antibodies(data: bytes, file: ListFile) -> list[str]:
    """The antibodies of one list.

    Raises:
      InputError: it is no list of antibodies.
    """
    lines = data.decode("utf-8-sig", "replace").splitlines()
    found = [line.strip() for line in lines if line.strip()]
    for number, line in enumerate(found, start=1):
        if not _NAME.fullmatch(line):
            raise InputError(
                f"{file.name}, line {number}: {line[:40]!r} is no antibody such as HPA000001; "
                "fetch the lists again"
            )
    if not found:
        raise InputError(f"{file.name} is empty; fetch the lists again")
    return found


def _read(path: Path, name: str) -> bytes:
    fetch = f"python -m tfds_builder.hpa.lists --list={name} --to={path.parent}"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; fetch the lists of --split={name}: {fetch}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({one_line(error)}); {advice(error)}") from None
