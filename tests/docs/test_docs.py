"""What the documentation names exists: links, flags, modules, files.

`launch/local.sh docs` builds the site and fails at a dead link or a missing name of the API; here
is what a site generator does not know.
"""

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

from hpa_jax.config import Config
from hpa_jax.deprecations import REMOVED_SETTINGS, RENAMED_SETTINGS

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
LAUNCH = REPOSITORY / "launch/README.md"
BUILDER = REPOSITORY / "tfds_builder/hpa/README.md"
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
ALL = [README, LAUNCH, BUILDER, *PAGES]

UPGRADING = REPOSITORY / "docs/upgrading.md"
"""The page that lists names of older versions: their settings and modules do not exist any more."""

MOST_README_LINES = 130

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SETTING = re.compile(r"\bconfig\.(\w+)\.(\w+)")
_MODULE = re.compile(r"python -m ((?:hpa_jax|tfds_builder)(?:\.\w+)*)")
_PATH = re.compile(r"(?:hpa_jax|tfds_builder|configs|tests|benchmarks|launch|requirements|docs)/")


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def on_all_pages(test):
    return pytest.mark.parametrize("page", ALL, ids=name_of)(test)


def code_of(text: str) -> list[str]:
    """What stands between backticks, on one line, outside blocks of code."""
    outside_blocks = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", outside_blocks)


def test_the_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_README_LINES


@on_all_pages
def test_relative_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in _LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as Markdown generators make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE):
        words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found.add(re.sub(r"[\s-]+", "-", words))
    return found


@on_all_pages
def test_settings_exist(page):
    sections = {item.name: item.default_factory for item in dataclasses.fields(Config)}
    fields = set()
    for section, section_class in sections.items():
        for item in dataclasses.fields(section_class):
            fields.add(f"{section}.{item.name}")
    if page == UPGRADING:
        fields |= {*RENAMED_SETTINGS, *REMOVED_SETTINGS}
    for section, name in _SETTING.findall(page.read_text(encoding="utf-8")):
        # Another attribute of a module, such as hpa_jax.config.Config.
        if section in sections:
            assert f"{section}.{name}" in fields, f"config.{section}.{name}"


def test_the_page_about_upgrading_lists_every_renamed_setting():
    text = UPGRADING.read_text(encoding="utf-8")
    for old, new in RENAMED_SETTINGS.items():
        assert f"config.{old}" in text and f"config.{new}" in text
    for removed in REMOVED_SETTINGS:
        assert f"config.{removed}" in text


@on_all_pages
def test_modules_exist(page):
    for module in _MODULE.findall(page.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(module) is not None, module


@on_all_pages
def test_files_exist(page):
    for code in code_of(page.read_text(encoding="utf-8")):
        for word in code.split():
            path = word.rstrip(",;:")
            is_pattern = any(mark in path for mark in "*{<$=()")
            if not _PATH.match(path) or is_pattern:
                continue
            assert (REPOSITORY / path).exists(), path


def test_every_page_is_in_the_navigation():
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert f": {page.name}" in navigation, page.name


def test_every_recipe_has_its_row():
    page = (REPOSITORY / "docs/recipes.md").read_text(encoding="utf-8")
    for recipe in sorted((REPOSITORY / "configs").glob("*.py")):
        if recipe.name != "__init__.py":
            assert f"`configs/{recipe.name}`" in page
