"""What no Python of this repository does: run code that comes as data, or start a shell.

Packages, scripts, tests, the notebook, and the Python inside shell scripts are parsed, not run.
`launch/local.sh test` runs bandit beside this, which knows more, and knows it less exactly.
"""

import ast
import json
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("hpa_jax", "tfds_builder", "benchmarks", "configs", "launch", "docs", "tests")

# Modules that make objects, and so run code, of what they read; `serialize_executable` is one.
FORBIDDEN_MODULES = {
    "_pickle",
    "cloudpickle",
    "dill",
    "jax.experimental.serialize_executable",
    "joblib",
    "marshal",
    "pickle",
    "shelve",
}
FORBIDDEN_BUILTINS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = {
    "os.popen",
    "os.system",
    "pandas.read_pickle",
    "pd.read_pickle",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "tempfile.mktemp",
    "yaml.full_load",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
}
# Keywords of any call, and the one value that they may have.
KEYWORDS = {"allow_pickle": False, "shell": False, "weights_only": True}

# Each with its reason; a file that no longer needs its entry fails.
EXCEPTIONS = {
    # Beam's workers exchange pickles anyway; these lines lie in a folder that the build has made.
    "tfds_builder/hpa/beam.py": {"pickle"},
    # Makes the pickles that must not be read.
    "tests/evaluation/test_score_arrays.py": {"allow_pickle"},
    # In these an object crosses to a worker process, which pickles it.
    "tests/data/test_records.py": {"pickle"},
    "tests/data/test_sampler.py": {"pickle"},
    "tests/support/image_files.py": {"pickle"},
    "tests/tfds_builder/test_layouts.py": {"pickle"},
}


def faults(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and name of each thing that is forbidden."""
    found = []
    for node in ast.walk(tree):
        found += [(getattr(node, "lineno", 0), name) for name in _faults_of(node)]
    return found


def _faults_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return _forbidden_modules(alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        members = [f"{module}.{alias.name}" for alias in node.names]
        called = [name for name in members if name in FORBIDDEN_CALLS]
        return _forbidden_modules([module, *members])[:1] + called
    if isinstance(node, ast.Call):
        return _faults_of_call(node)
    return []


def _forbidden_modules(names) -> list[str]:
    found = []
    for name in names:
        for module in FORBIDDEN_MODULES:
            if name == module or name.startswith(f"{module}."):
                found.append(module)
    return found


def _faults_of_call(call: ast.Call) -> list[str]:
    found = []
    name = ast.unparse(call.func)
    if name in FORBIDDEN_BUILTINS or name in FORBIDDEN_CALLS:
        found.append(name)
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    for keyword, allowed in KEYWORDS.items():
        if keyword not in keywords:
            continue
        value = keywords[keyword]
        if not (isinstance(value, ast.Constant) and value.value is allowed):
            found.append(keyword)
    if ast.unparse(keywords.get("verify", ast.Constant(None))) == "False":
        found.append("verify")
    if name == "torch.load" and "weights_only" not in keywords:
        found.append("weights_only")
    if name.endswith(".extractall") and "filter" not in keywords:
        found.append("filter")
    return found


def python_in_shell(text: str) -> list[str]:
    """What a shell script passes to `python -c`, and here-documents that a Python reads."""
    programs = re.findall(r"""python\S* -c '([^']*)'""", text)
    documents = re.findall(r"""python\S* - .*?<<-?'?(\w+)'?\n(.*?)\n\t*\1\n""", text, re.DOTALL)
    return programs + [program for _, program in documents]


def programs(path: Path) -> list[str]:
    """The Python in a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return [text]
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        # Lines for the shell and for IPython are no Python.
        return [re.sub(r"(?m)^[!%].*$", "", cell) for cell in code]
    return python_in_shell(text)


def files() -> list[Path]:
    found = [REPOSITORY / "setup.py"]
    for folder in FOLDERS:
        for pattern in ("*.py", "*.ipynb", "*.sh"):
            found += sorted((REPOSITORY / folder).rglob(pattern))
    return found


def test_nothing_runs_code_that_comes_as_data_or_starts_a_shell():
    unexpected = []
    used = {}
    for path in files():
        name = path.relative_to(REPOSITORY).as_posix()
        for program in programs(path):
            for line, fault in faults(ast.parse(program)):
                used.setdefault(name, set()).add(fault)
                if fault not in EXCEPTIONS.get(name, ()):
                    unexpected.append(f"{name}:{line}: {fault}")
    assert not unexpected
    assert used == EXCEPTIONS, "an exception that nothing needs any more"


def test_every_kind_of_file_is_looked_into():
    looked_into = {path.suffix for path in files() if programs(path)}
    assert looked_into == {".py", ".ipynb", ".sh"}


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("import pickle", "pickle"),
        ("def f():\n    from pickle import loads as read", "pickle"),
        ("import dill as json", "dill"),
        ("import joblib; joblib.load(path)", "joblib"),
        ("import marshal", "marshal"),
        ("import shelve", "shelve"),
        ("from jax.experimental import serialize_executable", None),
        ("eval(text)", "eval"),
        ("[exec(line) for line in lines]", "exec"),
        ("compile(text, 'x', 'exec')", "compile"),
        ("__import__(name)", "__import__"),
        ("os.system('ls')", "os.system"),
        ("from os import system", "os.system"),
        ("subprocess.run(line, shell=True)", "shell"),
        ("subprocess.run(line, shell=flag)", "shell"),
        ("subprocess.getoutput(line)", "subprocess.getoutput"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("yaml.load(text, Loader=Loader)", "yaml.load"),
        ("tempfile.mktemp()", "tempfile.mktemp"),
        ("torch.load(path)", "weights_only"),
        ("torch.load(path, weights_only=False)", "weights_only"),
        ("archive.extractall(folder)", "filter"),
        ("requests.get(url, verify=False)", "verify"),
    ],
)
def test_what_is_forbidden_is_seen(program, name):
    expected = name or "jax.experimental.serialize_executable"
    assert [fault for _, fault in faults(ast.parse(program))] == [expected]


@pytest.mark.parametrize(
    "program",
    [
        "net.eval(); lowered.compile(); re.compile(text)",
        "ast.literal_eval(text)",
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "yaml.safe_load(text)",
        "subprocess.run([program], shell=False)",
        "tmp_path_factory.mktemp('run')",
        "archive.extractall(folder, filter='data')",
    ],
)
def test_what_is_harmless_passes(program):
    assert faults(ast.parse(program)) == []


def test_python_inside_shell_scripts_is_seen():
    script = "x=1\n$python -c 'import pickle'\npython3 - \"$x\" <<'END'\neval(x)\nEND\n"
    found = [fault for part in python_in_shell(script) for _, fault in faults(ast.parse(part))]
    assert found == ["pickle", "eval"]
