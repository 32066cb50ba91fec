"""Install the dbt packages that packages.yml names: from the hub, or the subset in bundled/.

Without a network, `dbt deps` takes many seconds and ends with a traceback. This module asks the hub
first, for a limited time. Where the hub does not answer, the macros that this project calls come
from bundled/, which has them under the same names.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import yaml

from pipeline.dbt_runner import run_dbt

HUB_SECONDS = 2.0  # for the hub's answer, and once more for the first bytes of a package
STAMP = ".installed"


class PackageError(RuntimeError):
    """The packages could not be installed; the text says why and what to do."""


def install_packages(project: Path) -> str:
    """Install what packages.yml names into dbt_packages/; return one line about its origin.

    Does nothing when it is installed, whatever its origin. Raises PackageError when the hub cannot
    be used and a package is not in bundled/.
    """
    packages = _packages(project)
    names = ", ".join(f"{hub_name.rpartition('/')[2]} {version}" for hub_name, version in packages)
    target = project / "dbt_packages"
    stamp = target / STAMP
    installed = all((target / _folder(hub_name)).is_dir() for hub_name, _ in packages)
    if installed and not stamp.exists():
        return f"{names}, as dbt deps installed it"
    if installed and stamp.read_text() == _fingerprint(project, "hub"):
        return f"{names} from the hub"
    if installed and stamp.read_text() == _fingerprint(project, "bundled"):
        return "bundled subset of dbt_utils (dbt deps would install the release)"

    problem = _probe(packages) or _dbt_deps(project)
    if problem is None:
        stamp.write_text(_fingerprint(project, "hub"))
        return f"{names} from the hub"
    _copy_bundled(project, packages, problem)
    stamp.write_text(_fingerprint(project, "bundled"))
    return f"{problem}: using the bundled subset of dbt_utils"


def _packages(project: Path) -> list[tuple[str, str]]:
    content: dict[str, Any] = yaml.safe_load((project / "packages.yml").read_text("utf-8"))
    return [(entry["package"], str(entry["version"])) for entry in content["packages"]]


def _folder(hub_name: str) -> str:
    return hub_name.rpartition("/")[2]


def _fingerprint(project: Path, origin: str) -> str:
    """Identifies the content of dbt_packages/: packages.yml and, if it was used, bundled/."""
    digest = hashlib.sha256((project / "packages.yml").read_bytes())
    if origin == "bundled":
        for path in sorted((project / "bundled").rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(project)).encode() + path.read_bytes())
    return f"{origin} {digest.hexdigest()}\n"


def _probe(packages: list[tuple[str, str]]) -> str | None:
    """Ask the hub for every package and its archive; return what is wrong, or None."""
    import requests  # only here, because it is slow to import

    hub = os.environ.get("DBT_PACKAGE_HUB_URL") or "https://hub.getdbt.com/"
    archives: list[str] = []

    def ask_hub() -> None:
        for hub_name, version in packages:
            answer = requests.get(f"{hub}api/v1/{hub_name}.json", timeout=HUB_SECONDS)
            answer.raise_for_status()
            archives.append(answer.json()["versions"][version]["downloads"]["tarball"])

    def ask_archives() -> None:
        for url in archives:
            with requests.get(url, stream=True, timeout=HUB_SECONDS) as answer:
                answer.raise_for_status()
                if next(answer.iter_content(2), b"") != b"\x1f\x8b":
                    raise ValueError("the archive is not a gzip file")

    if _fails_within(HUB_SECONDS, ask_hub):
        return "The dbt package hub cannot be reached"
    if _fails_within(HUB_SECONDS, ask_archives):
        return "The dbt package hub answers, but the package cannot be downloaded"
    return None


def _fails_within(seconds: float, ask: Any) -> bool:
    """Run `ask` with its own deadline: requests' timeout does not limit a name lookup."""
    succeeded = threading.Event()

    def attempt() -> None:
        try:
            ask()
        except (OSError, ValueError, KeyError, TypeError):  # requests' errors are OSErrors
            return
        succeeded.set()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return not succeeded.is_set()


def _dbt_deps(project: Path) -> str | None:
    succeeded = run_dbt("deps", "--project-dir", str(project), "--log-level", "none", "--quiet")
    return None if succeeded else "dbt deps failed (see logs/dbt.log)"


def _copy_bundled(project: Path, packages: list[tuple[str, str]], problem: str) -> None:
    """Replace dbt_packages/ by the bundled packages, in one rename."""
    missing = [name for name, _ in packages if not (project / "bundled" / _folder(name)).is_dir()]
    if missing:
        raise PackageError(
            f"{problem}, and {', '.join(missing)} of packages.yml is not in bundled/. "
            "Connect to the network, or remove it from packages.yml."
        )
    # In target/: git ignores the remains of an interrupted build, and make clean removes them.
    fresh = project / "target" / f"dbt_packages.{os.getpid()}"
    for name, _ in packages:
        shutil.copytree(project / "bundled" / _folder(name), fresh / _folder(name))
    shutil.rmtree(project / "dbt_packages", ignore_errors=True)
    fresh.rename(project / "dbt_packages")
