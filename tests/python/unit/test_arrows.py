"""Imports run one way: scripts -> pipeline -> pages, loader, sample_shop; sources -> dialects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clone import REPO

PACKAGES = ("loader", "pages", "pipeline", "sample_shop", "scripts", "tools")
# Package -> what else of the project it may import. Contributors' tools may import anything.
MAY_IMPORT = {
    "scripts": {"pipeline", "loader", "sample_shop"},
    "pipeline": {"pages", "loader", "sample_shop"},
    "pages": set[str](),
    "loader": set[str](),
    # Both read the same URLs.
    "sample_shop": {"loader.urls", "loader.errors", "loader.dialects"},
}
# Part of the loader -> what of the loader it must not import.
MUST_NOT_IMPORT = {
    "loader.sources": {"loader.destinations", "loader.run", "loader.cli"},
    "loader.destinations": {"loader.sources", "loader.run", "loader.cli"},
    "loader.dialects": {"loader.sources", "loader.destinations", "loader.run", "loader.cli"},
}


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imported(path: Path, root: Path) -> Iterator[str]:
    """Full names of what a file imports, each name that follows `from ... import` too."""
    package = list(path.relative_to(root).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def wrong_arrows(root: Path) -> list[str]:
    """Each import that runs the wrong way, as `file imports module`."""
    found = []
    for name in PACKAGES:
        for path in sorted((root / name).rglob("*.py")):
            here = ".".join(path.relative_to(root).with_suffix("").parts)
            for module in imported(path, root):
                if _is_wrong(here, module):
                    found.append(f"{path.relative_to(root)} imports {module}")
    return found


def _is_wrong(here: str, module: str) -> bool:
    package, target = here.partition(".")[0], module.partition(".")[0]
    if target not in PACKAGES:
        return False
    if target == "scripts":
        return True
    if package == "tools":
        return False
    if package != target:
        return not any(_is_in(module, allowed) for allowed in MAY_IMPORT[package])
    return any(
        _is_in(module, refused)
        for part, all_refused in MUST_NOT_IMPORT.items()
        if _is_in(here, part)
        for refused in all_refused
    )


def test_imports_run_one_way() -> None:
    assert wrong_arrows(REPO) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("loader/destinations/new.py", "from ..sources.postgres import SPLIT"),
        ("loader/destinations/new/deep.py", "from ...sources import open_source"),
        ("loader/destinations/new.py", "from .. import sources"),
        ("loader/sources/new.py", "from ..destinations.duckdb import wire_sql"),
        ("loader/sources/new.py", "    import loader.destinations.base"),
        ("loader/dialects/new.py", "from ..destinations.base import Stamp"),
        ("loader/new.py", "from pipeline.warehouse import Target"),
        ("pages/new.py", "from pipeline.summary import Figure"),
        ("pages/new.py", "from loader.schema import Table"),
        ("sample_shop/new.py", "from loader.schema import Table"),
        ("pipeline/new.py", "import tools.servers"),
        ("pipeline/new.py", "from scripts.build import main"),
        ("tools/new.py", "from scripts import build"),
    ],
)
def test_an_import_that_runs_the_wrong_way_is_found(file: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"def late() -> None:\n    {line.strip()}\n")
    (found,) = wrong_arrows(tmp_path)
    assert found.startswith(f"{file} imports ")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("loader/destinations/new/deep.py", "from ...dialects.standard import quote"),
        ("loader/destinations/new/deep.py", "from ..sql import SqlDestination"),
        ("loader/cli.py", "from .destinations.duckdb import DuckDBDestination"),
        ("pipeline/new.py", "from loader.dialects.standard import quote"),
        ("sample_shop/new.py", "from loader.urls import parse_url"),
        ("tools/new.py", "from pipeline.build import main"),
    ],
)
def test_an_import_that_runs_the_right_way_is_not(file: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert wrong_arrows(tmp_path) == []
