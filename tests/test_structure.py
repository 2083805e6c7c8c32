"""The layout of the packages: who may import whom, and who owns which dependency.

docs/architecture.md draws what the tables below say.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "hpa_jax"
BUILDER = REPOSITORY / "tfds_builder"

# A package or module imports from lower layers and from itself, never from its own layer or above.
LAYERS = (
    ("deprecations", "errors", "labels", "lazy", "process_owner"),
    ("buckets",),
    ("environment",),
    ("config", "files", "http_fetch", "images", "metrics", "models", "optim"),
    ("folders", "segmentation"),
    ("data", "parallel", "pretrained", "transforms"),
    ("workdir",),
    ("recipes", "tracking"),
    ("training",),
    ("evaluation", "plan", "sweep"),
    ("report", "serving"),
    ("probe", "verify"),
    ("main",),
)
PACKAGES = [path.parent for path in (*PACKAGE.rglob("__init__.py"), *BUILDER.rglob("__init__.py"))]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}

# What the builder may use: plain files and tables, so that its workers start without JAX.
USED_BY_BUILDER = {
    "buckets",
    "data",
    "environment",
    "errors",
    "files",
    "folders",
    "http_fetch",
    "images",
    "labels",
    "process_owner",
}

# Mathematics takes arrays and plain values: no files, and of the configuration one section at most.
MATHEMATICS = {"metrics", "models", "optim", "transforms"}

# Where a dependency may be imported; all others may be imported anywhere.
OWNERS = {
    "orbax": ("training/array_store.py",),
    "grain": ("data/loader.py",),
    "tensorflow_datasets": ("data/catalog.py", "data/tfrecord.py"),
    "zstandard": ("data/zstd_planes.py",),
    "jinja2": ("report/html.py", "serving/"),
    "google": ("buckets/client.py", "data/tfrecord.py"),
    "requests": ("buckets/client.py", "http_fetch/"),
    "urllib3": ("buckets/client.py", "http_fetch/"),
    "safetensors": ("pretrained/", "serving/"),
    "torch": ("pretrained/formats.py",),
    "h5py": ("pretrained/formats.py", "serving/predict/tables/"),
    "anndata": ("serving/predict/", "probe/files.py"),
    "pyarrow": ("serving/predict/",),
    "flax": (
        "models/",
        "optim/",
        "pretrained/torchvision_weights.py",
        "probe/embedders.py",
        "training/",
        "serving/cell_net/",
        "serving/channel_net/",
        "serving/forward.py",
        "serving/predict/run_net.py",
        "serving/worker.py",
    ),
    "tensorflow": (),
    "tensorboardX": (),
    "keras": (),
    "sklearn": (),
    "tifffile": ("images/", "segmentation/label_image.py"),
    "skimage": ("segmentation/",),
    "imagecodecs": ("images/",),
    "PIL": (),
    "simplejpeg": ("images/",),
    "onnx": ("serving/",),
    "onnxruntime": ("serving/",),
    "yaml": ("serving/yaml_text.py",),
    "bioimageio": (),
    "torchvision": (),
    "starlette": ("serving/server/",),
    "uvicorn": ("serving/server/",),
    "h11": ("serving/server/",),
    "prometheus_client": ("serving/server/",),
    "optuna": ("sweep/storage.py", "sweep/study.py"),
    "sqlalchemy": ("sweep/storage.py",),
    "wandb": ("tracking/wandb_tracker.py",),
    "tfds_builder": (),
}

# Importing these starts no JAX: for servers and for the builder's workers.
WITHOUT_JAX = (
    "hpa_jax",
    "hpa_jax.serving",
    "hpa_jax.serving.server.command",
    "hpa_jax.serving.check",
    "hpa_jax.serving.onnx.session",
    "hpa_jax.serving.page.command",
    "hpa_jax.data",
    "hpa_jax.data.codec",
    "hpa_jax.data.records",
    "hpa_jax.config",
    "hpa_jax.environment.program",
    "hpa_jax.files",
    "hpa_jax.http_fetch",
    "hpa_jax.images",
    "hpa_jax.images.channel_file",
    "hpa_jax.images.image_file",
    "hpa_jax.images.folder",
    "hpa_jax.images.prepare",
    "hpa_jax.serving.predict.cells.run",
    "hpa_jax.serving.predict.command",
    "hpa_jax.serving.predict.similar",
    "hpa_jax.serving.segment.command",
    "hpa_jax.segmentation.classical",
)


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path):
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    """The package or module at the top of hpa_jax that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", sources(PACKAGE), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_come_from_lower_layers_and_owners(path):
    package = package_of(path)
    relative = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        top, _, rest = name.partition(".")
        imported = rest.partition(".")[0]
        if (
            top == "hpa_jax"
            and imported in LAYER_OF
            and imported != package
            and package != "__init__"
        ):
            assert LAYER_OF[imported] < LAYER_OF[package], f"{package} imports {imported}"
        if package in MATHEMATICS:
            assert name != "hpa_jax.config.Config", f"{package} takes plain values or one section"
        owners = OWNERS.get(top, (relative,))
        assert relative.startswith(owners), f"{top} belongs to {owners}, not {relative}"


def test_the_documentation_draws_the_same_layers():
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = {}
    for number, names in re.findall(r"^\| (\d+) \| ((?:`[a-z_]+/?` ?)+)\|", text, re.MULTILINE):
        drawn[int(number)] = tuple(re.findall(r"`([a-z_]+)", names))
    assert drawn == {number: tuple(sorted(names)) for number, names in enumerate(LAYERS, start=1)}


def test_every_package_has_a_layer_and_the_top_is_small():
    packages = {package_of(path) for path in sources(PACKAGE)} - {"__init__"}
    assert packages == set(LAYER_OF)
    modules = [path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= 10, modules


@pytest.mark.parametrize("path", sources(BUILDER), ids=lambda p: str(p.relative_to(BUILDER)))
def test_the_builder_uses_only_what_runs_without_jax(path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "hpa_jax" and len(parts) > 1 and parts[1] != "__version__":
            assert parts[1] in USED_BY_BUILDER, f"{path} imports {name}"


def test_packages_define_nothing_in_init_files():
    for path in [*sources(PACKAGE), *sources(BUILDER)]:
        if path.name != "__init__.py" or path == PACKAGE / "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda), path


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_a_package_that_lists_its_modules_lists_all_of_them(folder):
    text = (folder / "__init__.py").read_text(encoding="utf-8")
    listed = set(re.findall(r"(?<![\w/])\w+\.py\b", ast.get_docstring(ast.parse(text)) or ""))
    there = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    # A sentence may name one or two.
    if len(listed) > 2:
        assert listed == {name for name in there if not name.endswith("_test.py")}


def test_no_module_imports_itself_through_others():
    """Circles between modules, imports inside functions left out."""
    graph = {}
    for path in sources(PACKAGE):
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        graph[module.removesuffix(".__init__")] = set(top_level_imports(path))
    done = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done:
            return
        for imported in graph[module] & graph.keys():
            visit(imported, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def top_level_imports(path: Path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (REPOSITORY / inner.replace(".", "/")).with_suffix(".py").exists()
                is_package = (REPOSITORY / inner.replace(".", "/") / "__init__.py").exists()
                yield inner if is_module or is_package else node.module


@pytest.mark.parametrize("name", WITHOUT_JAX)
def test_importing_it_starts_no_jax(name):
    code = f"import {name}, sys; print([m for m in ('jax', 'tensorflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tests_mirror_the_packages_and_stay_readable():
    tests = REPOSITORY / "tests"
    outside = {"support", "golden", "benchmarks", "launch", "configs", "docs", "tfds_builder"}
    for folder in tests.iterdir():
        if folder.is_dir() and folder.name not in outside and not folder.name.startswith("_"):
            assert (PACKAGE / folder.name).is_dir(), f"tests/{folder.name} mirrors no package"
    for path in sources(tests):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
