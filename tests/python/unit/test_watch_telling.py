"""A watch whose source is away says so once, and once more when it is back."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline import warehouse as warehouses
from pipeline.alerts import alerts_of
from pipeline.expectations import Expectations
from pipeline.settings import Settings
from pipeline.warehouse import DuckDB
from pipeline.watch_telling import WatchTelling

FOLLOWS = {"state": "follow", "failed": []}


class Watch:
    def __init__(self, folder: Path) -> None:
        self._told = folder / "told"
        command = ["sh", "-c", f"cat >> {self._told}; echo >> {self._told}"]
        alerts = alerts_of({"channels": [{"command": command}]}, {})
        settings = cast(Any, Settings)(
            cast(Any, None), "", cast(Any, None), Expectations({}), alerts
        )
        place = DuckDB("duckdb", "main", {"path": str(folder / "w.duckdb")})
        self.said: list[str] = []
        self.telling = WatchTelling(place, settings, self.said.append, every=0.0, away=0.2)

    def hears(self, error: str, ago: float = 0.0) -> None:
        at = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
        self.telling.heard({"last_error": error, "last_error_at": at if error else ""})
        self.ended()

    def ended(self) -> None:
        if thread := self.telling._sending:
            thread.join(20)

    def looks(self, **marts: Any) -> None:
        self.telling.look({**FOLLOWS, **marts})
        self.ended()

    @property
    def events(self) -> list[str]:
        lines = self._told.read_text("utf-8").splitlines() if self._told.is_file() else []
        return [json.loads(line)["title"].partition(": ")[2] for line in lines]


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(warehouses, "MADE", tmp_path / "target")
    return Watch(tmp_path)


def test_a_source_that_is_away(watch: Watch) -> None:
    watch.hears("")
    watch.hears("the shop is away")
    assert watch.events == []  # for a moment
    time.sleep(0.3)
    watch.hears("the shop is away")
    watch.hears("the shop is away")
    assert watch.events == ["failed: source"]
    watch.hears("the shop is away", ago=200)
    watch.looks()
    assert watch.events == ["failed: source", "back to green: source"], watch.said


def test_marts_that_do_not_follow(watch: Watch) -> None:
    watch.looks(state="a complete build runs")
    watch.looks()
    assert watch.events == []
    watch.looks(state="do not follow: make build was not green")
    watch.looks(state="do not follow: make build was not green")
    watch.looks(state="follow, but the tests failed")
    assert watch.events == ["failed: watch"]
    watch.looks()
    watch.looks(failed=[{"test": "a_test", "text": "it failed: 1 row"}])
    watch.looks()
    assert watch.events == [
        "failed: watch",
        "back to green: watch",
        "test failed: a_test",
        "back to green: a_test",
    ]
