"""Small lists of antibodies, in the form of the public ones."""

from pathlib import Path

LISTS = {
    "train_antibodies.txt": ("HPA000001", "HPA000002", "CAB000115", "HPA000300", "CAB000004"),
    "valid_antibodies.txt": ("HPA000003", "CAB000300"),
    "test_antibodies.txt": ("HPA000005",),
}
"""300 is an HPA's number in one list, and a CAB's in another."""


def contents(**others: str) -> dict[str, bytes]:
    """The files; `others` replaces the text of `train`, `valid` or `test`."""
    found = {}
    for name, antibodies in LISTS.items():
        text = "".join(f"{antibody}\n" for antibody in antibodies)
        found[name] = others.get(name.partition("_")[0], text).encode()
    return found


def write_lists(folder: Path, **others: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents(**others).items():
        (folder / name).write_bytes(data)
    return folder
