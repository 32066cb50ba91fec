"""Set-up's dbt packages: the hub where it answers, the bundled subset where it does not."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from support.clone import REPO, copy_project
from support.commands import script

ARCHIVE = "/archives/dbt_utils.tar.gz"
MARKER = "macros/came_from_the_hub.sql"


def pinned() -> tuple[str, str]:
    (package,) = yaml.safe_load((REPO / "packages.yml").read_text("utf-8"))["packages"]
    return package["package"], str(package["version"])


def archive() -> bytes:
    """The package as GitHub would pack it: one folder with a name of its own."""
    _, version = pinned()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(REPO / "bundled" / "dbt_utils", arcname=f"dbt-utils-{version}")
        macro = b"{% macro came_from_the_hub() %}yes{% endmacro %}"
        entry = tarfile.TarInfo(f"dbt-utils-{version}/{MARKER}")
        entry.size = len(macro)
        tar.addfile(entry, io.BytesIO(macro))
    return packed.getvalue()


@dataclass
class Hub:
    """A package hub on loopback; `answers` maps a path to what it says, other paths are 404."""

    url: str = ""
    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            body = found.answers.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/"
        name, version = pinned()
        release = {
            "id": f"{name}/{version}",
            "name": name.rpartition("/")[2],
            "version": version,
            "packages": [],
            "downloads": {"tarball": f"{found.url.rstrip('/')}{ARCHIVE}", "format": "tgz"},
        }
        found.answers = {
            "/api/v1/index.json": json.dumps([name]).encode(),
            f"/api/v1/{name}.json": json.dumps(
                {"name": release["name"], "versions": {version: release}}
            ).encode(),
            ARCHIVE: archive(),
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path)


@pytest.fixture
def prepare(project: Path) -> Callable[[str], str]:
    """Run set-up against a hub and return its line about packages."""

    def run(hub_url: str) -> str:
        done = script(project, "build", "--prepare", DBT_PACKAGE_HUB_URL=hub_url)
        assert (done.status, done.err) == (0, ""), done.out + done.err
        (line,) = [line for line in done.out.splitlines() if "packages" in line]
        return line.strip()

    return run


def seconds(line: str) -> float:
    found = re.match(r"packages +([0-9.]+) s", line)
    assert found, line
    return float(found[1])


@pytest.mark.long
def test_hub_that_answers_provides_the_pinned_release(
    hub: Hub, project: Path, prepare: Callable[[str], str]
) -> None:
    assert f"dbt_utils {pinned()[1]} from the hub" in prepare(hub.url)
    assert (project / "dbt_packages" / "dbt_utils" / MARKER).exists()
    assert ARCHIVE in hub.asked

    hub.asked.clear()
    assert f"dbt_utils {pinned()[1]} from the hub" in prepare(hub.url)
    assert hub.asked == [], "what is right is not fetched again"


def test_new_pin_is_fetched(hub: Hub, project: Path, prepare: Callable[[str], str]) -> None:
    prepare(hub.url)
    with (project / "packages.yml").open("a", encoding="utf-8") as packages:
        packages.write("# another text\n")
    hub.asked.clear()
    prepare(hub.url)
    assert ARCHIVE in hub.asked


def test_dead_hub_is_replaced_by_the_bundled_subset(
    project: Path, prepare: Callable[[str], str]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        line = prepare(f"http://127.0.0.1:{nobody.getsockname()[1]}/")
    assert "The dbt package hub cannot be reached: using the bundled subset" in line
    assert seconds(line) < 3
    installed = project / "dbt_packages" / "dbt_utils"
    for path in (REPO / "bundled" / "dbt_utils").rglob("*.sql"):
        copy = installed / path.relative_to(REPO / "bundled" / "dbt_utils")
        assert copy.read_bytes() == path.read_bytes()


def test_hub_that_never_answers_costs_two_seconds(prepare: Callable[[str], str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        line = prepare(f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert "cannot be reached: using the bundled subset" in line
    assert seconds(line) < 3


@pytest.mark.parametrize("body", [None, b"<html>Sorry</html>"])
def test_package_that_cannot_be_downloaded_is_replaced(
    body: bytes | None, hub: Hub, prepare: Callable[[str], str]
) -> None:
    hub.answers.pop(ARCHIVE)
    if body is not None:
        hub.answers[ARCHIVE] = body
    line = prepare(hub.url)
    assert "package cannot be downloaded: using the bundled subset" in line
    assert seconds(line) < 3


def test_package_that_is_not_bundled_is_an_error_without_a_hub(project: Path) -> None:
    with (project / "packages.yml").open("a", encoding="utf-8") as packages:
        packages.write("  - package: dbt-labs/codegen\n    version: 0.14.1\n")
    done = subprocess.run(
        [sys.executable, "scripts/build.py", "--prepare"],
        cwd=project,
        env={**os.environ, "DBT_PACKAGE_HUB_URL": "http://127.0.0.1:9/"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "dbt-labs/codegen of packages.yml is not in bundled/" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "dbt_packages").exists()


@pytest.mark.long
def test_what_dbt_deps_installed_by_hand_stays(
    hub: Hub, project: Path, prepare: Callable[[str], str]
) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("dbt"), "deps"],
        cwd=project,
        env={**os.environ, "DBT_PACKAGE_HUB_URL": hub.url},
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout
    hub.asked.clear()
    assert f"dbt_utils {pinned()[1]}, as dbt deps installed it" in prepare(hub.url)
    assert hub.asked == []
    assert (project / "dbt_packages" / "dbt_utils" / MARKER).exists()
