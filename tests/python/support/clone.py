"""The project's files as a newcomer gets them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
# What stands in .gitignore, for a tree that came without git.
MADE = (
    ".venv",
    ".venv-bi",
    ".superset",
    ".venv-airflow",
    ".venv-dagster",
    ".airflow",
    ".dagster",
    "*.sqlite*",
    "*.duckdb*",
    "profiles.yml",
    "dbt_packages",
    "target",
    "logs",
    ".*_cache",
)


def copy_project(folder: Path) -> Path:
    """A fresh clone of the working tree: what git knows or would add, and nothing that was made."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=REPO, capture_output=True
    )
    if listed.returncode == 0:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        for name in names:
            if (REPO / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPO / name, folder / name)
    else:  # an archive without a repository
        shutil.copytree(REPO, folder, ignore=shutil.ignore_patterns(*MADE), dirs_exist_ok=True)
    return folder
