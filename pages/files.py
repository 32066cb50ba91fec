"""How a page is made: from a template, in one step, with nothing to fetch; and where pages are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def site(target: Path) -> Path:
    """The folder of the pages, below the folder of what builds of a warehouse leave."""
    return target / "site"


def artifacts(target: Path) -> Path:
    """The folder with dbt's artifacts of the last build, likewise."""
    return target / "built"


def write_page(page: Path, template: Path, **values: Any) -> None:
    """Write a page from a template with values in it. Raises OSError."""
    replace_file(page, filled(template, **values))


def filled(template: Path, **values: Any) -> str:
    """A template with escaped values in it; it may use other templates of its folder."""
    return templates(template.parent).get_template(template.name).render(values)


def templates(*folders: Path) -> Environment:
    """How templates of some folders are filled: their values are escaped, and must be there."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def replace_file(path: Path, text: str) -> None:
    """Write a file in one step, so that a reader never sees half of it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)
