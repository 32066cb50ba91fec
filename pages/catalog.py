"""The catalog of tables and columns: the page that dbt writes, and dbt's artifacts of the build."""

from __future__ import annotations

import shutil
from pathlib import Path

from pages.files import artifacts, site

ARTIFACTS = ("manifest.json", "catalog.json")


def store_catalog(made_by_dbt: Path, target: Path) -> str:
    """Move dbt's page from its folder to the other pages; returns its path. Raises OSError.

    The artifacts are copied: the next dbt command, such as `dbt parse`, overwrites them without the
    SQL from which `make docs` draws the lineage.
    """
    for folder in (site(target), artifacts(target)):
        folder.mkdir(parents=True, exist_ok=True)
    page = (made_by_dbt / "static_index.html").replace(site(target) / "docs.html")
    for artifact in ARTIFACTS:
        shutil.copyfile(made_by_dbt / artifact, artifacts(target) / artifact)
    return page.relative_to(made_by_dbt.parent).as_posix()
