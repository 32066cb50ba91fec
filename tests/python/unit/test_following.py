"""What `make watch` refuses, and what its runs tell their macros."""

import json
import os
import subprocess
import sys
import threading
from argparse import Namespace
from pathlib import Path

import pytest

from pipeline import watch as make_watch
from pipeline.shop import SAMPLE_URL
from pipeline.warm_marts import TOLD_BY, Said, Span
from support.clone import REPO


def watch(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make watch with nothing to watch."""
    return subprocess.run(
        [sys.executable, "scripts/watch.py", *arguments], cwd=REPO, env=os.environ | variables,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("option", ["--select=orders", "--target", "--hash-columns"])
def test_what_make_build_would_not_know_is_refused(option: str) -> None:
    done = watch(option)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"watch: {option.partition('=')[0]} is not an option of make watch" in done.stderr


def test_redshift_is_refused_before_anything_is_asked_of_it() -> None:
    done = watch(TARGET="redshift", SOURCE="sqlite:///shop.sqlite")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "load into Redshift with make build" in done.stderr


def test_without_a_source_the_sample_shop_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SOURCE", "TARGET"):
        monkeypatch.setenv(name, "")  # so that what it sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "warehouse.duckdb"))
    for source, expected in ((None, SAMPLE_URL), ("sqlite:///own.sqlite", "sqlite:///own.sqlite")):
        given = Namespace(source=source, slow="5m", page="none", host="127.0.0.1")
        make_watch.follow(given, print)
        assert given.source == expected
        # make build makes the sample shop only where none is named.
        assert os.environ.get("SOURCE") == source


def test_the_first_run_has_a_number() -> None:
    """Changes since run 0 are all changes; without a number there would be none."""
    assert json.loads(str(Said("sign", since=0, run=1))) == {"sign": "sign", "since": 0, "run": 1}


def test_a_span_without_all_changes_goes_on_from_nothing() -> None:
    assert Span("2026-11-27").built_through == "2026-11-27"
    assert Span("2026-11-27", is_logged=False).built_through == ""


def test_a_complete_build_hears_nothing_of_the_runs_of_a_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "build.py").write_text(
        f"import os, sys\nsys.exit(bool({set(TOLD_BY)} & {{*os.environ}}))\n"
    )
    monkeypatch.setattr(make_watch, "PROJECT", tmp_path)
    for name in TOLD_BY:
        monkeypatch.setenv(name, "{}")
    said: list[str] = []
    assert make_watch.complete_build(threading.Event(), said.append)


def test_a_complete_build_that_was_killed_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "build.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setattr(make_watch, "PROJECT", tmp_path)
    said: list[str] = []
    assert not make_watch.complete_build(threading.Event(), said.append)
    assert any("signal 9" in text for text in said)
