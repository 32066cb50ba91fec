"""The documents: their form and length, and that links, paths, targets and options exist."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from loader.cli import main
from support.clone import REPO
from support.documents import blocks, code, commands, pages, prose

PAGES = pages(REPO)
LANGUAGES = {"sh", "console", "text", "sql", "yaml", "json", "python", "mermaid"}
LINES = {"README.md": 200, "CONTRIBUTING.md": 120}
ROOT_FILES = 14
LINES_OF_A_DECISION = 8

# Files that a run or a person makes.
MADE = {
    *("profiles.yml", "loader.yml", "schema.yml", "shop.yml", "shop.sqlite", "warehouse.duckdb"),
    *("marts.duckdb", "warehouse.duckdb.loading", "logs/dbt.log", "ca.pem", "pg_hba.conf"),
    *(f"warehouse.duckdb.{what}/warehouse.duckdb" for what in ("building", "failed")),
    *("target/", "target/build.json", "target/compiled/", "target/screenshots/", "target/site/"),
    "warehouse.duckdb.readers/",
    "target/manifest.json",
    "target/own-duckdb-1a2b3c4d/site/",
    *(
        "target/site/report.html",
        ".superset/",
        ".airflow",
        ".venv-airflow",
        ".dagster",
        ".venv-dagster",
        ".venv-bi/",
        ".venv/bin/activate",
        ".venv/bin/python",
    ),
    *("index.html", "docs.html", "report.html", "lineage.html", "diagram.html"),
}
# Names in the documents that look like a path and are none.
NO_PATHS = {
    *("loads/", "prefix/loader-<warehouse>/<batch>/", "s3://bucket/prefix", "application/json"),
    "duckdb:///Warehouse",
}
SUFFIXES = (".py", ".sql", ".yml", ".yaml", ".sh", ".md", ".txt", ".in", ".ipynb", ".jinja", ".css")


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPO, capture_output=True, text=True
    )
    if listed.returncode:  # an archive without a repository
        skipped = {".venv", ".venv-bi", ".superset", ".airflow", ".venv-airflow", ".dagster"}
        skipped |= {".venv-dagster", "target", "logs", "dbt_packages"}
        found = (path.relative_to(REPO) for path in REPO.rglob("*") if path.is_file())
        return [str(path) for path in found if path.parts[0] not in skipped]
    return [name for name in listed.stdout.splitlines() if (REPO / name).is_file()]


def ids(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_blocks_say_their_language(page: Path) -> None:
    assert [str(block) for block in blocks(page) if block.language not in LANGUAGES] == []
    # Indented code would not be found as commands.
    assert re.findall(r"\n\n {4,}\S.*", prose(page)) == []


@pytest.mark.parametrize("name", LINES)
def test_pages_are_short(name: str) -> None:
    assert len((REPO / name).read_text("utf-8").splitlines()) <= LINES[name]


def test_decisions_are_short_and_give_a_reason() -> None:
    page = (REPO / "DECISIONS.md").read_text("utf-8")
    entries = [entry for entry in page.split("\n\n") if entry.startswith("**")]
    assert len(entries) > 100
    assert [entry for entry in entries if len(entry.splitlines()) > LINES_OF_A_DECISION] == []


def test_the_root_has_few_files(tracked: list[str]) -> None:
    assert len([name for name in tracked if "/" not in name]) <= ROOT_FILES


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub names them in links."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path, tracked: list[str]) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        model = re.fullmatch(r"#!/model/model\.classicmodels\.(\w+)", link)
        if model:  # in the catalog
            found = any(name.endswith(f"/{model[1]}.sql") for name in tracked)
        else:
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            found = name in MADE or (target.is_file() and (not anchor or anchor in anchors(target)))
        if not found:
            broken.append(link)
    assert broken == []


def is_path(word: str) -> bool:
    if word in NO_PATHS or re.search(r"[^\w./*<>\-]|^/|^\.\.|^--", word):
        return False
    return "/" in word or word.endswith(SUFFIXES)


def exists(word: str, tracked: list[str]) -> bool:
    """Whether a tracked file or folder has this name, as a whole or at its end."""
    pattern = re.sub(r"<[^>]+>|\.\.\.", "*", word)
    if pattern.endswith("/"):
        pattern += "*"
    return any(
        fnmatch.fnmatch(name, pattern)
        or fnmatch.fnmatch(name, f"*/{pattern}")
        or name.startswith(f"{pattern}/")
        for name in tracked
    )


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_paths_exist(page: Path, tracked: list[str]) -> None:
    named = {word for span in code(page) for word in span.split()}
    typed = {word for command in commands(page) for word in command.text.split()}
    words = {word.strip("'\"(),;:") for word in named | typed}
    missing = {w for w in words if is_path(w) and w not in MADE and not exists(w, tracked)}
    assert missing == set()


def make_targets() -> set[str]:
    makefile = (REPO / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z-]+):(?!=)", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_make_has_the_targets(page: Path) -> None:
    texts = [*code(page), *(command.text for command in commands(page))]
    named = {name for text in texts for name in re.findall(r"(?:^|[ ;&])make ([a-z-]+)", text)}
    assert named - make_targets() == set()


def test_the_readme_lists_the_commands() -> None:
    shown = set(re.findall(r"^\| `make ([a-z-]+)", prose(REPO / "README.md"), re.MULTILINE))
    assert {"build", "docs", "report", "metrics", "bi", "roles", "test", "lint", "help"} <= shown


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_modules_can_be_run(page: Path) -> None:
    texts = [*code(page), *(command.text for command in commands(page))]
    named = {name for text in texts for name in re.findall(r"python -m ([\w.]+)", text)}
    for name in named:
        spec = importlib.util.find_spec(name)
        assert spec, name
        if spec.submodule_search_locations:
            assert importlib.util.find_spec(f"{name}.__main__"), name


def test_the_loader_has_the_options_of_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    page = REPO / "docs" / "loader.md"
    texts = [*code(page), *(c.text for c in commands(page) if "-m loader" in c.text)]
    texts = [text for text in texts if "sample_shop" not in text]
    named = {name for text in texts for name in re.findall(r"(?:^| )(--[a-z-]+)", text)}
    assert named - known == set()
    assert known - named == set(), "an option that the page does not explain"


def test_the_loaders_modules_are_explained(tracked: list[str]) -> None:
    modules = {name.rpartition("/")[2] for name in tracked if re.match(r"loader/.*\.py$", name)}
    named = {word.rpartition("/")[2] for word in code(REPO / "docs" / "loader-inside.md")}
    assert modules - named <= {"__init__.py"}
