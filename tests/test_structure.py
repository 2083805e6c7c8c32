"""The house keeps its floors: a file imports only from lower ones, and each dependency has one owner."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "hpa_jax"

# Maths takes plain arguments: no Config, no files.
MATHS = """
augment averaging bootstrap calibration ensemble losses metrics mixes models optim packing plateau ranking sampling
thresholds utilisation views warps weighted
""".split()
HOST_IO = """
checkpoint codec data datasets events feeding fields pretrained processes profile records runlog score_files score_pools
shard_index stopping watch workdir
""".split()
FLOORS = {
    0: "chips config errors labels".split(),
    1: MATHS + HOST_IO,
    2: "activation_maps compiling mesh state steps".split(),
    3: """
    assembly ensemble_runs evaluate export plan predict predictor report score_text scores serving train validation
    """.split(),
    4: ["main"],
}
OWNERS = {
    "orbax": {"checkpoint"},
    "grain": {"data"},
    "tensorflow_datasets": {"datasets", "shard_index"},
    "zstandard": {"codec"},
    "flax": {"models", "averaging", "plateau", "state", "steps", "export"},
    "tensorboardX": set(),
    "safetensors": {"export", "pretrained", "serving"},
    "tensorflow": set(),
    "torch": {"pretrained"},
    "h5py": {"pretrained"},
    "keras": set(),
    "sklearn": set(),
    "tfds_builder": set(),
    "pickle": set(),
}


def module_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Every module that a file imports, wherever in it, with relative imports spelled out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                "hpa_jax" + (f".{node.module}" if node.module else "")
                if node.level
                else node.module
            )
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_come_from_lower_floors_and_owners(path):
    floor_of = {module: floor for floor, modules in FLOORS.items() for module in modules}
    me = module_of(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "hpa_jax" and len(parts) > 1 and parts[1] in floor_of and parts[1] != me:
            other = parts[1]
            assert floor_of[other] <= floor_of[me], f"{me} (floor {floor_of[me]}) imports {other}"
            assert not (me in MATHS and other == "config"), (
                f"{me} is maths: it takes plain arguments"
            )
        assert me in OWNERS.get(parts[0], {me}), (
            f"{parts[0]} belongs to {OWNERS[parts[0]]}, not {me}"
        )


def test_every_module_has_a_floor():
    known = {module for modules in FLOORS.values() for module in modules}
    assert {module_of(path) for path in FILES} == known


def test_nothing_runs_foreign_code():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = (
                    node.func.id
                    if isinstance(node.func, ast.Name)
                    else getattr(node.func, "attr", "")
                )
                assert name not in ("eval", "exec"), f"{path.name}:{node.lineno}"
                assert not any(
                    k.arg == "allow_pickle" and getattr(k.value, "value", 0) for k in node.keywords
                )
