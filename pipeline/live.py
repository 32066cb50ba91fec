"""Marts that follow a watch, with the page that shows them as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from pages.live import LivePage, LivePageError
from pipeline.following import Following
from pipeline.live_figures import live_figures
from pipeline.project import schema_name
from pipeline.warehouse import Warehouse, WarehouseError


class Shown:
    """What follows a watch, shown after each of its steps, if there is a page."""

    def __init__(
        self,
        following: Following,
        warehouse: Warehouse,
        page: LivePage | None,
        say: Callable[[str], None],
    ) -> None:
        self._following, self._warehouse, self._page, self._say = following, warehouse, page, say
        self._marts = schema_name(warehouse.schema, "marts")
        self._watch: Mapping[str, Any] | None = None
        # Of which builds the figures on the page are.
        self._asked: tuple[str, str] = "", ""
        if page:
            page.ask_status(lambda: self._watch)

    @property
    def is_whole(self) -> bool:
        """Whether readers can be given what was built."""
        return self._following.is_whole

    def begin(self, stop: threading.Event) -> None:
        """Serve the page, and build everything once."""
        try:
            if self._page:
                self._page.start()
        except LivePageError as error:
            self._say(f"watch: {error} The watch goes on without it.")
            self._page = None
        self._following.begin(stop)
        self._show()

    def after_batch(self, committed_at: float) -> None:
        """Let the quick marts follow, and show them."""
        self._following.after_batch(committed_at)
        self._show()

    def is_due(self, *, quiet: bool) -> bool:
        """Whether something was put off."""
        return self._following.is_due(quiet=quiet)

    def work(self, *, quiet: bool) -> None:
        """Do it, and show what came of it."""
        self._following.work(quiet=quiet)
        self._show()

    def status(self) -> dict[str, Any]:
        """How the marts are."""
        return self._following.status()

    def told(self, status: Mapping[str, Any]) -> None:
        """How the watch is."""
        self._watch = status

    def end(self) -> None:
        """Tell the readers that the watch has ended."""
        if self._page:
            self._page.close()

    def _show(self) -> None:
        if self._page is None:
            return
        told, watch = self._following.status(), self._watch or {}
        figures, error = None, "" if told["state"] == "follow" else told["state"]
        built = told["built_at"], told["slow"]["built_at"]
        if self.is_whole and built != self._asked:
            try:
                with self._warehouse.reading() as ask:
                    figures = live_figures(ask, self._marts, self._following.day)
                self._asked = built
            except WarehouseError as problem:  # another run may be writing
                error = str(problem)
        self._page.show(
            {
                "figures": figures,
                "through": told["through"],
                "built_at": told["built_at"],
                "failed": told["failed"],
                "slow": told["slow"],
                "mode": watch.get("mode", ""),
                "source": watch.get("source", ""),
                "warehouse": self._warehouse.label,
                "error": error,
            }
        )
