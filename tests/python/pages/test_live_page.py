"""The live page in a real browser: it renews itself, says when it cannot, and anybody can read it.

The server is the real one; the states are made up (test_live_figures.py has those of warehouses).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from pages.live import LivePage
from support.clone import REPO
from support.live_state import FIGURES, NOTHING, order, sold, state, with_figures
from tools.servers import free_port

expect.set_options(timeout=20_000)  # milliseconds; on a machine that has other work too

HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "O'Brien & Söhne {{ 7 * 7 }} {% raw %} </script> %s",
    "🚂 \N{ARABIC LETTER SHEEN}\N{ARABIC LETTER REH} \N{RIGHT-TO-LEFT OVERRIDE}abc",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3,
)
DASH = "\N{EN DASH}"
FAILED = [
    {
        "test": "fact_orders_revenue_leaves_out_cancelled_orders",
        "count": 12345,
        "text": "order_number 10107, order_line_number 1\norder_number 10108, order_line_number 2",
    }
]


@pytest.fixture
def live() -> Iterator[LivePage]:
    # The heartbeat of a test is short, because a browser that waits for it takes its time.
    status = {"lag_seconds": 0.4, "bytes_behind": None}
    with LivePage(port=0, say=lambda _: None, status=lambda: status, heartbeat=0.3) as live:
        yield live


@pytest.fixture
def opened(page: Page, live: LivePage) -> Iterator[Callable[..., Page]]:
    """How to open the page with a state; it asks nobody else, and has no error."""
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    def open_page(shown: dict[str, Any] | None = None) -> Page:
        if shown is not None:
            live.show(shown)
        page.goto(live.address)
        page.evaluate("window.opened = true")
        expect(page.locator(".ago").first).not_to_be_empty() if shown else None
        return page

    yield open_page
    assert page.evaluate("window.hacked") is None
    # What a browser says of itself when a server goes away is no error of the page.
    assert [text for text in said if "ERR_" not in text] == []
    assert {url.partition("?")[0] for url in asked} <= {live.address, f"{live.address}events"}


def cells(page: Page, key: str) -> list[list[str]]:
    """The texts of a table, row by row, also where it is closed."""
    found: list[list[str]] = page.evaluate(
        f"[...document.querySelectorAll('#{key}-table tr')].map(row =>"
        " [...row.cells].map(cell => cell.textContent.trim()))"
    )
    return found


def cards(page: Page) -> list[str]:
    return page.locator("#cards .value").all_inner_texts()


def notice(page: Page) -> str:
    return " ".join(page.locator("#connection").inner_text().split())


# -- what it shows --------------------------------------------------------------------------------


def test_page_shows_the_state_to_the_cent(opened: Callable[..., Page]) -> None:
    page = opened(state())
    assert cards(page) == ["3,000.35 USD", "4", "35"]
    notes = page.locator("#cards .note").all_inner_texts()
    assert notes[:2] == [
        "42.9 % of yesterday, the whole day: 7,000.75".replace("9 %", "9\u00a0%"),
        "Friday 13 Nov, the whole day: 4,000.45",
    ]
    facts = page.locator("#facts > div").all_inner_texts()
    assert "Friday, 20 Nov 2026" in facts[0]
    assert "20 Nov 2026, 15:02:01 UTC" in facts[1] and "0.4 s" in facts[3]
    assert "20 Nov 2026, 15:00:00 UTC" in facts[4] and facts[4].endswith(" every 5 min")
    hours = cells(page, "hours")
    assert hours[0][1:] == [
        *("Orders", "Pieces", "Revenue, USD", "Revenue yesterday, USD"),
        "Revenue a week before, USD",
    ]
    assert hours[10] == ["09:00", "1", "10", "1,000.10", "2,000.20", "3,000.30"]
    assert hours[16] == ["15:00", "0", "0", "0.00", "4,000.40", "1,000.10"]
    assert hours[17] == ["16:00", DASH, DASH, DASH, "0.00", "0.00"]  # it is 15:02
    assert hours[25] == ["Hour not known", "1", "5", "0.05", "0.05", "0.05"]
    assert hours[26] == ["Total", "4", "35", "3,000.35", "7,000.75", "4,000.45"]
    days = cells(page, "days")
    assert days[2] == ["23 Oct 2026", "1", "10", "1,000.25"]
    assert days[30] == ["20 Nov 2026", "4", "35", "3,000.35"]
    assert cells(page, "lines")[1:] == [
        ["Classic Cars", "3", "20", "2,000.30", "66.7\u00a0%", "3,000.00", "90,000.00"],
        ["Ships", "2", "15", "1,000.05", "33.3\u00a0%", "33.33", "1,000.00"],
        ["Total", "", "35", "3,000.35", "100.0\u00a0%", "3,033.33", "91,000.00"],
    ]
    assert cells(page, "regions")[1:] == [
        ["Europe", "35", "3,000.35", "100.0\u00a0%", "3,033.33", "91,000.00"],
        ["Total", "35", "3,000.35", "100.0\u00a0%", "3,033.33", "91,000.00"],
    ]
    newest = cells(page, "orders")[1:]
    assert newest[0] == [
        *("10430", "20 Nov, 14:02:31", "France", "Classic Cars, Ships"),
        *("10", "1,000.10", "In Process"),
    ]
    assert newest[1][1] == "19 Nov, 06:30:00, loaded"
    tested = page.locator("#tests").inner_text()
    assert "No test failed. Last tested: 20 Nov 2026, 15:02:04 UTC (" in tested
    assert "Newer rows" not in tested
    assert "By the shop's log".lower() in page.locator("#origin").inner_text().lower()


def test_amounts_beyond_floats_are_exact(opened: Callable[..., Page]) -> None:
    huge = {"orders": 1, "units": 10**9, "revenue": "1234567890123456.78"}
    page = opened(with_figures(today={"day": FIGURES["day"], **huge}))
    assert cards(page) == ["1,234,567,890,123,456.78 USD", "1", "1,000,000,000"]


def test_charts_are_as_their_tables_say(opened: Callable[..., Page]) -> None:
    page = opened(state())
    for key, rows in (("days", 30), ("hours", 24)):
        bars = page.locator(f"#{key}-chart svg.chart rect.bar")
        heights = [float(bar.get_attribute("height") or 0) for bar in bars.all()]
        column = [row[3].replace(",", "") for row in cells(page, key)[1 : rows + 1]]
        values = [0.0 if value == DASH else float(value) for value in column]
        assert len(heights) == rows
        for height, value in zip(heights, values, strict=True):
            if value > 1:
                assert abs(height / max(heights) - value / max(values)) < 0.02
            elif not value:
                assert height == 0
    # Yesterday's hours are there for all hours, also those to come.
    assert page.locator("#hours-chart svg.chart rect.mark").count() == 24
    for title in page.locator("article:has(svg.chart) h3").all_inner_texts():
        assert page.get_by_role("img", name=title, exact=True).count() == 1


def test_hours_that_no_log_gave(opened: Callable[..., Page]) -> None:
    day = {"in_day": [NOTHING] * 24, "other_day": NOTHING, "unknown": sold(4, 35, "3000.35")}
    page = opened(with_figures(hours=dict.fromkeys(("today", "yesterday", "week_before"), day)))
    assert "no log gave the time" in page.locator("#hours-lede").inner_text()
    assert page.locator("#hours-chart svg").count() == 0
    assert cells(page, "hours")[25][:4] == ["Hour not known", "4", "35", "3,000.35"]


# -- how it renews itself -------------------------------------------------------------------------


def test_news_come_without_a_reload(opened: Callable[..., Page], live: LivePage) -> None:
    page = opened(state())
    page.locator("summary").first.click()
    page.locator("#hours-table").focus()
    page.evaluate("document.querySelector('#days-chart svg').mine = true")
    figures = {
        "today": {"day": FIGURES["day"], **sold(5, 45, "4000.45")},
        "orders": [order(10431), *FIGURES["orders"]],
        "hours": {**FIGURES["hours"], "today": FIGURES["hours"]["week_before"]},
    }
    live.show(with_figures(**figures))
    expect(page.locator("#cards .value").first).to_have_text("4,000.45 USD")
    expect(page.locator("#orders-table tbody tr")).to_have_count(3)
    assert page.evaluate("window.opened") is True
    # Who reads a table goes on reading it, and what did not change is not written again.
    assert page.locator("details").first.get_attribute("open") is not None
    assert page.evaluate("document.activeElement.id") == "hours-table"
    assert page.evaluate("document.querySelector('#days-chart svg').mine") is True
    # What is new is marked: the numbers that changed, and the order that came.
    marked = page.locator("#cards .changed").all_inner_texts()
    assert marked == ["4,000.45 USD", "5", "45"]
    assert page.locator("#orders-table tr.changed th").all_inner_texts() == ["10431"]


def test_first_figures_come_by_themselves(opened: Callable[..., Page], live: LivePage) -> None:
    page = opened()
    assert cards(page) == [f"{DASH} USD", DASH, DASH]
    assert "The first figures come when the marts are built." in page.locator("main").inner_text()
    assert page.locator("summary:visible").count() == 0
    assert "None" not in page.locator("body").inner_text()
    live.show(state())
    expect(page.locator("#cards .value").first).to_have_text("3,000.35 USD")
    assert page.locator("#notices").inner_text() == ""
    assert page.locator("summary:visible").count() == 4
    # Nothing in it is marked as changed: all is new.
    assert page.locator("#orders-table .changed").count() == 0


def test_nothing_moves_for_who_wants_no_motion(
    opened: Callable[..., Page], live: LivePage, page: Page
) -> None:
    def motion() -> str:
        live.show(with_figures(today={"day": FIGURES["day"], **sold(5, 45, f"{next(amounts)}.00")}))
        page.wait_for_selector("#cards .changed")
        name: str = page.evaluate(
            "getComputedStyle(document.querySelector('#cards .changed')).animationName"
        )
        return name

    amounts = iter((5000, 6000))
    page.emulate_media(reduced_motion="reduce")
    opened(state())
    assert motion() == "none"
    page.emulate_media(reduced_motion="no-preference")
    assert motion() == "new"


def test_pause_holds_the_page_and_goes_on(opened: Callable[..., Page], live: LivePage) -> None:
    page = opened(state())
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    assert notice(page).startswith("Paused since ")
    live.show(with_figures(today={"day": FIGURES["day"], **sold(5, 45, "4000.45")}))
    live.show(with_figures(today={"day": FIGURES["day"], **sold(6, 55, "5000.55")}))
    expect(page.locator("#connection")).to_contain_text("There are newer figures.")
    assert cards(page) == ["3,000.35 USD", "4", "35"]
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#cards .value").first).to_have_text("5,000.55 USD")
    expect(page.locator("#connection")).to_be_hidden()


def test_page_that_nobody_sees_gives_its_connection_back(
    opened: Callable[..., Page], live: LivePage
) -> None:
    page = opened(state())
    hide = (
        "value => { Object.defineProperty(document, 'hidden', {value, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }"
    )
    page.evaluate(hide, True)
    live.show(with_figures(today={"day": FIGURES["day"], **sold(5, 45, "4000.45")}))
    page.wait_for_timeout(1_500)  # some heartbeats
    assert cards(page)[0] == "3,000.35 USD"
    page.evaluate(hide, False)
    expect(page.locator("#cards .value").first).to_have_text("4,000.45 USD")
    assert page.locator("#connection").is_hidden()


# -- what it says ---------------------------------------------------------------------------------


def test_seconds_are_counted_in_the_browser(
    opened: Callable[..., Page], live: LivePage, page: Page
) -> None:
    # A browser whose clock is wrong by years counts by the server's.
    page.clock.install(time=datetime(2020, 1, 1, tzinfo=UTC))
    opened(state(through=iso(time.time() - 5)))
    ago = page.locator("#facts .ago").first
    seconds = int(ago.inner_text().split()[0].lstrip("("))
    assert 5 <= seconds <= 15
    page.clock.run_for(7_000)
    later = int(ago.inner_text().split()[0].lstrip("("))
    assert 6 <= later - seconds <= 9
    live.show(state(through=iso(time.time() - 30 * 60)))
    expect(page.locator("#facts .ago").first).to_have_text("(30 min ago)")


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_figures_are_said_once_a_minute_at_most(
    opened: Callable[..., Page], live: LivePage, page: Page
) -> None:
    page.clock.install()
    opened(state())
    said = page.locator("#said")
    assert said.get_attribute("aria-live") == "polite"
    # Nothing else is said by itself: what is counted each second would never end.
    assert page.locator("[aria-live], [role=status], [role=alert], [role=timer]").count() == 1

    def show(revenue: str) -> None:
        live.show(with_figures(today={"day": FIGURES["day"], **sold(5, 45, revenue)}))
        shown = f"{Decimal(revenue):,.2f} USD"
        expect(page.locator("#cards .value").first).to_have_text(shown)

    show("4000.00")
    show("5000.00")
    assert said.inner_text() == ""
    passes(page, 60)
    assert said.text_content() == "Revenue today 5,000.00 USD, 5 orders."
    show("6000.00")
    passes(page, 40)
    assert said.text_content() == "Revenue today 5,000.00 USD, 5 orders."
    passes(page, 20)
    assert said.text_content() == "Revenue today 6,000.00 USD, 5 orders."
    # Not at all for who does not want it.
    page.locator("#aloud").uncheck()
    show("7000.00")
    passes(page, 80)
    assert said.text_content() == "Revenue today 6,000.00 USD, 5 orders."


def passes(page: Page, seconds: int) -> None:
    """Let time pass in the browser, while the server's word comes as often as it should."""
    for _ in range(0, seconds, 20):
        page.clock.run_for(20_000)
        page.wait_for_timeout(800)


def test_stopped_watch_is_said_and_the_page_goes_on_after_it(
    opened: Callable[..., Page], live: LivePage
) -> None:
    page = opened(state())
    live.close()
    expect(page.locator("#connection")).to_contain_text("the watch was stopped")
    assert notice(page).startswith("Not updated since ")
    assert page.title() == "Not updated: Live sales"
    assert page.locator("#said").text_content() == "The figures are not updated any more."
    seconds = seconds_in(notice(page))
    page.wait_for_timeout(3_000)
    assert 2 <= seconds_in(notice(page)) - seconds <= 5
    assert cards(page)[0] == "3,000.35 USD"
    assert_accessible(page)
    port = int(live.address.rstrip("/").rpartition(":")[2])
    with LivePage(port=port, say=lambda _: None) as again:
        again.show(with_figures(today={"day": FIGURES["day"], **sold(5, 45, "4000.45")}))
        expect(page.locator("#cards .value").first).to_have_text("4,000.45 USD")
        expect(page.locator("#connection")).to_be_hidden()
        assert page.locator("#said").text_content() == "The page is updated again."
        assert page.title() == "Live sales"
        assert page.evaluate("window.opened") is True


def seconds_in(words: str) -> int:
    """Of: ..., 23 s ago: ..."""
    return int(words.partition(" s ago")[0].rpartition(" ")[2])


PROCESS = """
import json, sys, time
from pages.live import LivePage
with LivePage(port=int(sys.argv[1])) as live:
    live.show(json.load(sys.stdin))
    time.sleep(600)
"""


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[int, dict[str, Any]], subprocess.Popen[str]]]:
    """How to start a process that serves a state at a port."""
    started: list[subprocess.Popen[str]] = []

    def start(port: int, shown: dict[str, Any]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", PROCESS, str(port)],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdin and process.stdout
        assert process.stdout.readline().startswith("The live page is at ")
        process.stdin.write(json.dumps(shown))
        process.stdin.close()
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def test_watch_that_is_killed_or_silent_is_said(
    page: Page, watch: Callable[[int, dict[str, Any]], subprocess.Popen[str]]
) -> None:
    port = free_port()
    process = watch(port, state())
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.locator("#cards .value").first).to_have_text("3,000.35 USD")
    process.kill()
    process.wait()
    expect(page.locator("#connection")).to_contain_text("the watch does not answer")
    process = watch(port, with_figures(today={"day": FIGURES["day"], **sold(5, 45, "4000.45")}))
    expect(page.locator("#cards .value").first).to_have_text("4,000.45 USD")
    expect(page.locator("#connection")).to_be_hidden()
    # The connection stays, but nobody says a word.
    page.clock.install()
    page.reload()
    expect(page.locator("#cards .value").first).to_have_text("4,000.45 USD")
    page.wait_for_timeout(500)
    os.kill(process.pid, signal.SIGSTOP)
    page.clock.run_for(35_000)
    assert page.locator("#connection").is_hidden()
    page.clock.run_for(10_000)
    assert "the watch does not answer" in notice(page)
    assert seconds_in(notice(page)) >= 40
    os.kill(process.pid, signal.SIGCONT)
    page.clock.run_for(5_000)
    expect(page.locator("#connection")).to_be_hidden()


def test_errors_and_tests_that_fail_are_said(opened: Callable[..., Page], live: LivePage) -> None:
    page = opened(state(failed=FAILED, error="The disk is full. The watch tries again."))
    said = page.locator("#notices").inner_text()
    assert "Not updated since 20 Nov 2026, 15:02:03 UTC" in said and " ago): The disk is" in said
    assert "1 test fails; the list is below the figures. Figures may be wrong." in said
    row = page.locator("#tests tbody tr").first
    assert row.locator("th").inner_text() == FAILED[0]["test"]
    assert row.locator("td").all_inner_texts() == ["12,345", FAILED[0]["text"]]
    assert_accessible(page)
    live.show(state(note="follow, but the slow marts failed"))
    expect(page.locator("#notices")).to_have_text("The marts follow, but the slow marts failed.")
    live.show(state(tested_at="2026-11-20T15:02:03+00:00"))
    expect(page.locator("#notices")).to_be_empty()
    expect(page.locator("#tests")).to_contain_text("Newer rows are not tested yet.")
    live.show(state())
    expect(page.locator("#tests")).not_to_contain_text("Newer rows")
    expect(page.locator("#tests")).to_contain_text("No test failed")


def test_any_name_can_be_shown(opened: Callable[..., Page], live: LivePage) -> None:
    def hostile() -> dict[str, Any]:
        names = [{**FIGURES["lines"][0], "name": name} for name in (*HOSTILE, None, "")]
        return {
            **with_figures(
                lines=names,
                regions=[{**FIGURES["regions"][0], "name": f"Region {n}"} for n in range(30)],
                orders=[
                    order(1, country=name, lines=[name, None], status=name) for name in HOSTILE
                ],
            ),
            "error": HOSTILE[0],
            "failed": [{"test": name, "count": None, "text": name} for name in HOSTILE],
            "source": HOSTILE[1],
            "warehouse": HOSTILE[0],
        }

    page = opened(hostile())
    live.show({**hostile(), "error": "Something else."})
    expect(page.locator("#notices")).to_contain_text("Something else.")
    assert [row[0] for row in cells(page, "lines")[1:-1]] == [*HOSTILE, "(no name)", "(no name)"]
    assert cells(page, "regions")[10][:2] == ["21 other regions", str(21 * 35)]
    assert [row[2] for row in cells(page, "orders")[1:]] == list(HOSTILE)
    for width in (320, 390, 1280):
        assert_fits(page, width)


# -- how it can be read ---------------------------------------------------------------------------


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing, in light and dark, with all tables open."""
    page.evaluate("document.querySelectorAll('details').forEach(found => found.open = true)")
    # What is marked as new has another color for a moment.
    page.emulate_media(reduced_motion="reduce")
    schemes: dict[Any, Any] = {"light": {}, "dark": {"runOnly": ["color-contrast"]}}
    for scheme, rules in schemes.items():
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options={"resultTypes": ["violations"], **rules})
        assert found.violations_count == 0, found.generate_report()


def assert_fits(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(found => found.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(
    "shown",
    [None, state(), state(failed=FAILED, error="The disk is full."), with_figures(lines=[])],
    ids=["empty", "full", "error", "no lines"],
)
def test_page_is_accessible_and_fits(
    opened: Callable[..., Page], shown: dict[str, Any] | None
) -> None:
    page = opened(shown)
    for width in (320, 390, 1280):
        assert_fits(page, width)
    assert_accessible(page)
    page.locator("#pause").click()
    assert_accessible(page)
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => h.tagName)")
    assert levels[:3] == ["H1", "H2", "H2"] and levels.count("H1") == 1


def test_page_can_be_used_with_the_keyboard(opened: Callable[..., Page]) -> None:
    page = opened(state())
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
        seen.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )
    tables = page.locator("summary").all_inner_texts()
    assert seen == ["Skip to the figures", "pause", "aloud", *tables, "orders-table"]
    page.locator("#pause").focus()
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#hours-table table")).to_be_visible()
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_without_script_the_page_shows_the_figures(live: LivePage, browser: Any) -> None:
    live.show(state())
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(live.address)
        assert cards(page)[0] == "3,000.35 USD"
        assert "reload it" in page.locator("noscript").inner_text()
