"""Draw lineage and diagram, and serve all pages on this machine only: what `make docs` runs.

    python scripts/catalog.py              draw what is older than the last build, and serve
    python scripts/catalog.py --diagram    only draw the diagrams in docs/marts.md, docs/diagram.md

`make build` writes the other pages. These two take longer than all of those together and need more
packages, so they are drawn when somebody wants to see them. TARGET and DUCKDB_PATH name the
warehouse whose pages are shown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from loader import LoadError
from pages.catalog import ARTIFACTS
from pages.files import artifacts, site
from pages.start import write_start_page
from pipeline.project import MADE, PROJECT
from pipeline.target import chosen_warehouse
from pipeline.warehouse import ProfileError


class _Quiet(SimpleHTTPRequestHandler):
    def handle(self) -> None:
        # A browser may leave a page before it is complete.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        pass


def draw_lineage(target: Path) -> None:
    """Draw the page of the lineage, and warn of what it lacks. Raises what dbt-colibri raises."""
    from pages.lineage import write_lineage

    if lost := write_lineage(artifacts(target), site(target) / "lineage.html"):
        warn(f"the lineage is incomplete: {lost}")


def draw_diagram(target: Path) -> None:
    """Draw the page of the diagram. Raises what dbterd raises."""
    # This import takes seconds.
    from pages.diagram import write_diagram

    write_diagram(artifacts(target), site(target) / "diagram.html")


def draw(target: Path) -> None:
    """Draw the pages that are older than what they show. It warns of a page that fails."""
    made = [artifacts(target) / name for name in ARTIFACTS]
    if not all(file.is_file() for file in made):
        return
    newest = max(file.stat().st_mtime for file in made)
    for name, task in (("lineage", draw_lineage), ("diagram", draw_diagram)):
        page = site(target) / f"{name}.html"
        if page.is_file() and page.stat().st_mtime >= newest:
            continue
        print(f"Drawing the {name} ...", flush=True)
        try:
            task(target)
        except Exception as error:  # whatever their error is, the other pages are good
            said = " ".join(str(error).split()) or type(error).__name__
            warn(f"there is no new {name}: {said[:300]}")
    write_start_page(target)


def warn(text: str) -> None:
    """Say what is missing."""
    print(f"make docs: {text}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; exit status 1 when there is no page yet or the port is taken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--diagram", action="store_true", help="draw those of docs/")
    options = parser.parse_args(arguments)
    os.chdir(PROJECT)
    try:
        warehouse = chosen_warehouse()
    except (ProfileError, LoadError) as error:
        warn(str(error))
        return 1
    made = warehouse.made
    if not (site(made) / "index.html").is_file():
        warn(f"there is nothing to show of {warehouse.label} yet; run make build first.")
        return 1
    if options.diagram:
        try:
            from pages.diagram import write_documents
        except ImportError:
            warn("dbterd, which draws the diagrams, is not installed; run make docs once.")
            return 1
        write_documents(PROJECT, MADE)
        return 0
    port = options.port
    try:
        handler = partial(_Quiet, directory=str(site(made)))
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        warn(f"port {port} cannot be used ({error}); try make docs PORT={port + 1}.")
        return 1
    draw(made)
    print(
        f"All pages of {warehouse.label} are at http://localhost:{port} (Ctrl-C ends it).",
        flush=True,
    )
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
