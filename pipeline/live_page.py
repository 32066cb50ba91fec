"""Marts that follow a watch, and the live page that shows them after each of their runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from pages.live import LivePage, LivePageError
from pipeline.following import Following
from pipeline.live_figures import live_figures
from pipeline.warehouse import Warehouse, WarehouseError
from pipeline.watch_telling import WatchTelling

# How the states begin in which the marts are older than the raw tables, and will stay so.
STANDING = ("failed", "do not follow")
# Seconds between two looks at the figures while nobody reads the page and batches come.
UNREAD_EVERY = 5.0


class ShownMarts:
    """Does what the marts do, and then shows them if there is a page.

    The figures are asked where the marts' own runs end: after a batch under the same lock, so that
    nobody writes meanwhile. While nobody reads the page they wait until no batch does.
    """

    def __init__(
        self,
        marts: Following,
        warehouse: Warehouse,
        page: LivePage | None,
        say: Callable[[str], None],
        telling: WatchTelling | None = None,
    ) -> None:
        self._marts, self._warehouse, self._page, self._say = marts, warehouse, page, say
        self._telling = telling
        self._watch: Mapping[str, Any] = {}
        self._shown: dict[str, Any] = {}
        self._figures: dict[str, Any] | None = None
        self._built_at = ""
        # The marts may have newer figures than those that are shown.
        self._is_behind, self._asked_at = False, 0.0

    @property
    def is_whole(self) -> bool:
        """As the marts say."""
        return self._marts.is_whole

    def begin(self, stop: threading.Event) -> None:
        """The first figures come when the first build has ended."""
        if self._page:
            self._page.ask_status(lambda: self._watch or None)
            try:
                self._page.start()
            except LivePageError as error:
                self._say(f"watch: {error} The watch goes on without it.")
                self._page = None
        self._show()
        self._marts.begin(stop)
        self._show()
        self._tell()

    def after_batch(self, committed_at: float) -> None:
        """As the marts do, and show them."""
        self._marts.after_batch(committed_at)
        if self._must_show(quiet=False):
            self._show()
        else:
            self._is_behind = True
        self._tell()

    def is_due(self, *, quiet: bool) -> bool:
        """As the marts say; where somebody wants to see them, or something may have to be told."""
        is_behind = self._is_behind and self._must_show(quiet=quiet)
        return is_behind or self._marts.is_due(quiet=quiet) or self._telling_is_due

    def work(self, *, quiet: bool) -> None:
        """As the marts do, and show them."""
        if self._marts.is_due(quiet=quiet):
            self._marts.work(quiet=quiet)
            self._is_behind = True
        if self._is_behind:
            self._show()
        self._tell()

    def _must_show(self, *, quiet: bool) -> bool:
        is_read = self._page is not None and self._page.is_read
        return quiet or is_read or time.monotonic() - self._asked_at > UNREAD_EVERY

    def status(self) -> dict[str, Any]:
        """As the marts say."""
        return self._marts.status()

    def told(self, status: Mapping[str, Any]) -> None:
        """How the watch is, which the page shows too."""
        self._watch = status
        if self._telling:
            self._telling.heard(status)

    def end(self) -> None:
        """Tell the page's readers that the watch has ended."""
        if self._page:
            self._page.close()

    @property
    def _telling_is_due(self) -> bool:
        return self._telling is not None and self._telling.is_due(self._marts.status())

    def _tell(self) -> None:
        if self._telling:
            self._telling.look(self._marts.status())

    def _show(self) -> None:
        """Show how the marts are; the figures are asked only after a run of them."""
        self._is_behind = False
        if self._page is None:
            return
        marts = self._marts.status()
        error = marts["state"] if marts["state"].startswith(STANDING) else ""
        if marts["built_at"] != self._built_at:
            self._asked_at = time.monotonic()
            try:
                with self._warehouse.reading() as ask:
                    self._figures = live_figures(ask, self._warehouse.marts)
                self._built_at = marts["built_at"]
            except WarehouseError as problem:
                error = str(problem)
        state = {
            "figures": self._figures,
            "through": marts["through"],
            "built_at": self._built_at,
            "tested_at": marts["tested_at"],
            "failed": marts["failed"],
            "slow": {name: marts["slow"].get(name) for name in ("built_at", "every")},
            "mode": self._watch.get("mode"),
            "source": self._watch.get("source"),
            "warehouse": self._warehouse.label,
            "error": error,
            "note": marts["state"] if marts["state"].startswith("follow,") else "",
        }
        if state != self._shown:
            self._page.show(state)
            self._shown = state
