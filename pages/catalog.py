"""The catalog of tables and columns: the page that dbt writes, and dbt's artifacts of the build."""

from __future__ import annotations

import shutil
from pathlib import Path

from pages.files import artifacts, site

ARTIFACTS = ("manifest.json", "catalog.json")


def store_catalog(target: Path, project: Path) -> str:
    """Move dbt's page to the other pages; returns its path in the project. Raises OSError.

    The artifacts are copied: the next dbt command, such as `dbt parse`, overwrites them without the
    SQL from which `make docs` draws the lineage.
    """
    for folder in (site(target), artifacts(target)):
        folder.mkdir(parents=True, exist_ok=True)
    page = (target / "static_index.html").replace(site(target) / "docs.html")
    for artifact in ARTIFACTS:
        shutil.copyfile(target / artifact, artifacts(target) / artifact)
    return page.relative_to(project).as_posix()
