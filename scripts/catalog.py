"""Serve the catalog that the build wrote, on this machine only: what `make docs` runs.

Like `dbt docs serve`, without dbt's seconds of start and with a sentence where the port is taken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "target"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; exit status 1 when there is no catalog or the port is taken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args(arguments).port
    if not (TARGET / "catalog.json").is_file():
        print("make docs: there is no catalog yet; run make build first.", file=sys.stderr)
        return 1
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(TARGET)))
    except (OSError, OverflowError) as error:
        print(
            f"make docs: port {port} cannot be used ({error}); try make docs PORT={port + 1}.",
            file=sys.stderr,
        )
        return 1
    print(f"The catalog is at http://localhost:{port} (Ctrl-C ends it).", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
