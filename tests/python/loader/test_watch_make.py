"""The watch by its command of make."""

import json
import os
import subprocess
import time
from datetime import date
from pathlib import Path

from sample_shop.shop import create_shop
from support.clone import REPO
from support.commands import environment


def test_make_watches(tmp_path: Path) -> None:
    create_shop(f"sqlite:///{tmp_path / 'shop.sqlite'}", as_of=date(2026, 11, 20))
    variables = environment() | {
        "SOURCE": f"sqlite:///{tmp_path / 'shop.sqlite'}",
        "DUCKDB_PATH": str(tmp_path / "w.duckdb"),
    }

    def make(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["make", "watch", *arguments],
            cwd=REPO,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    watching = make("WATCH=--every 60s")
    deadline = time.monotonic() + 400  # a complete build comes first
    while make("WATCH=status").communicate()[0].find("batches     1 ") < 0:
        assert time.monotonic() < deadline and watching.poll() is None
    os.kill(int(json.loads((tmp_path / "w.duckdb.watch.json").read_text())["process"]), 15)
    assert "what was published is whole" in watching.communicate(timeout=20)[0]
    assert "the position is forgotten" in make("WATCH=unwatch").communicate()[0]
