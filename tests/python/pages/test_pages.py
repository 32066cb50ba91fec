"""The pages that people open, in a real browser: from disk, and as `make docs` serves them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import duckdb
import pytest
import yaml
from playwright.sync_api import ConsoleMessage, Page, expect

from pages.start import note_failure
from pipeline import catalog
from support.clone import copy_project
from support.commands import Run, environment, first_build, red_build, run, script
from support.project import REVENUE
from tools.servers import free_port

expect.set_options(timeout=60_000)  # milliseconds; on a machine that has other work too

OURS = ("index.html", "diagram.html")
ALL = (*OURS, "docs.html", "lineage.html")
# Kinds of the start page by the first word of dbt's unique_id.
KINDS = {
    "test": "Tests of rows",
    "unit_test": "Unit tests",
    "model": "Models",
    "snapshot": "Snapshots",
    "seed": "Seeds",
}
# Of dbt's own page: icons whose names it has not filled in yet, and one that it never does.
DBT_ASKS_FOR = ("%7B%7B%20getIcon", "favicons/favicon.ico")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one commit after `make build`."""
    made, _ = first_build()
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("pages") / "project", symlinks=True))


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    """Where `make docs` serves the pages, lineage and diagram among them.

    What draws them is led to a proxy where nobody may call.
    """
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0)
        nowhere = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        server = subprocess.Popen(
            ["make", "docs", f"PORT={port}"],
            cwd=built,
            env=environment() | {"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said: list[str] = []
            assert server.stdout
            for line in server.stdout:
                said.append(line.rstrip())
                if line.startswith("All pages"):
                    break
            assert [line for line in said if "Installing" not in line] == [
                "Drawing the lineage ...",
                "Drawing the diagram ...",
                "All pages of duckdb: warehouse.duckdb are at"
                f" http://localhost:{port} (Ctrl-C ends it).",
            ]
            with pytest.raises(BlockingIOError):
                proxy.accept()
            yield f"http://127.0.0.1:{port}/"
        finally:
            os.killpg(server.pid, 15)
            rest, _ = server.communicate()
    # A browser that leaves a page before it has all of it is no error.
    assert "Traceback" not in rest


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """The built project once more, to break things in."""
    return Path(shutil.copytree(built, tmp_path / "copy", symlinks=True))


# What differs where a page is served is whether it opens, and where its links lead.
BOTH = pytest.mark.parametrize("base", ["served", "disk"], indirect=True)


@pytest.fixture(params=[pytest.param("served", marks=pytest.mark.long), "disk"])
def base(request: pytest.FixtureRequest, built: Path, address: str) -> str:
    """Where the pages are, from disk and served, with a slash at the end."""
    return address if request.param == "served" else (built / "target" / "site").as_uri() + "/"


@pytest.fixture
def quiet(page: Page, built: Path, address: str) -> Iterator[Page]:
    """A page that may neither complain nor ask for anything but files of its own folder."""
    complaints: list[str] = []
    asked: list[str] = []

    def said(message: ConsoleMessage) -> None:
        about = message.text + message.location["url"]
        if message.type == "error" and not any(known in about for known in DBT_ASKS_FOR):
            complaints.append(about)

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", said)
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.wait_for_load_state("networkidle")
    assert not complaints
    places = (f"{built.as_uri()}/target/site/", address, "data:", "blob:")
    assert asked and not [url for url in asked if not url.startswith(places)]


def artifact(project: Path, name: str) -> Any:
    return json.loads((project / "target" / f"{name}.json").read_text("utf-8"))


def cells(page: Page, table: str) -> list[list[str]]:
    """The texts of a table's body, row by row."""
    rows = page.locator(f"#{table} tbody tr").all()
    return [
        [" ".join(text.split()) for text in row.locator("th, td").all_inner_texts()] for row in rows
    ]


def term(page: Page, name: str) -> str:
    """What a list of the start page says behind a name."""
    return " ".join(page.locator(f"dt:text-is('{name}') + dd").inner_text().split())


# -- every page -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", ALL)
def test_page_opens_without_network(name: str, base: str, quiet: Page) -> None:
    quiet.goto(base + name)
    expect(quiet).to_have_title(re.compile(r"\w"))
    shown = {
        "index.html": "Last build: green",
        "diagram.html": "fact_orders",
        "docs.html": "The model shop's warehouse",
        "lineage.html": "classicmodels",
    }
    expect(quiet.get_by_text(shown[name]).locator("visible=true").first).to_be_visible()


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_of_ours_are_for_everybody(name: str, width: int, base: str, quiet: Page) -> None:
    quiet.set_viewport_size({"width": width, "height": 800})
    quiet.goto(base + name)
    assert quiet.evaluate("document.documentElement.scrollWidth") <= width
    assert quiet.locator("html[lang=en]").count() == 1
    for landmark in ("banner", "main", "contentinfo", "navigation"):
        assert quiet.get_by_role(landmark).count() == 1, landmark
    assert quiet.get_by_role("heading", level=1).count() == 1
    for table in quiet.get_by_role("table").all():
        assert table.locator("thead th[scope=col]").count() >= 3
        rows = table.locator("tbody tr")
        assert rows.count() == rows.filter(has=quiet.locator("th[scope]")).count() > 0
    # The tab key reaches everything that scrolls or leads somewhere, in the order of the page.
    places = quiet.locator("a[href], [tabindex='0']").count()
    reached = []
    for _ in range(places):
        quiet.keyboard.press("Tab")
        reached.append(
            quiet.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
    assert reached == sorted(set(reached)) and len(reached) == places


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(name: str, scheme: Any, base: str, quiet: Page) -> None:
    quiet.emulate_media(color_scheme=scheme)
    quiet.goto(base + name)
    # The ratio of WCAG 2, of each element with text of its own; 4.5 is asked for.
    faint = quiet.evaluate(
        """() => {
          const light = (rgb) => {
            const [r, g, b] = rgb.match(/[0-9.]+/g).map((n) => n / 255)
              .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (e) => {
            const color = getComputedStyle(e).backgroundColor;
            return color !== "rgba(0, 0, 0, 0)" ? color : ground(e.parentElement);
          };
          return [...document.querySelectorAll("body *")]
            .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
            .filter((e) => e.getClientRects().length)
            .map((e) => [light(getComputedStyle(e).color), light(ground(e)), e.textContent])
            .map(([a, b, text]) => [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text])
            .filter(([ratio]) => ratio < 4.5);
        }"""
    )
    assert faint == []


@BOTH
@pytest.mark.parametrize("name", OURS)
def test_links_lead_somewhere(name: str, built: Path, base: str, quiet: Page) -> None:
    quiet.goto(base + name)
    links = {a.get_attribute("href") or "" for a in quiet.locator("a").all()}
    nodes = artifact(built, "manifest")["nodes"]
    files = set()
    for link in links:
        if link.startswith("mailto:"):
            assert re.fullmatch(r"mailto:[\w.-]+@[\w.-]+", link)
            continue
        place, _, node = link.partition("#!/model/")
        assert not node or node in nodes, link
        with urllib.request.urlopen(urljoin(base, place)) as answer:
            assert answer.read(1)
        files.add(urlsplit(place).path)
    expected = {"docs.html", "lineage.html", "diagram.html"} if name == "index.html" else set()
    assert files >= expected | {"docs.html"}


def test_a_link_opens_the_mart_in_the_catalog(base: str, quiet: Page) -> None:
    quiet.goto(base + "index.html")
    quiet.get_by_role("link", name="fact_payments", exact=True).first.click()
    expect(quiet.locator("h1:visible", has_text="fact_payments")).to_be_visible()


# -- the start page -------------------------------------------------------------------------------


def test_start_page_says_what_the_artifacts_and_the_loader_say(
    built: Path, base: str, quiet: Page
) -> None:
    quiet.goto(base + "index.html")
    manifest, results = artifact(built, "manifest"), artifact(built, "run_results")["results"]
    sources = artifact(built, "sources")["results"]

    counted = Counter(found["unique_id"].partition(".")[0] for found in results)
    assert {found["status"] for found in results} <= {"success", "pass", "no-op"}
    expected = [[title, str(counted[kind]), "0", "0", "0"] for kind, title in KINDS.items()]
    assert cells(quiet, "outcomes") == [
        *expected,
        ["Sources, freshness", str(len(sources)), "0", "0", "0"],
    ]
    confirmed = {
        found["unique_id"].rpartition(".")[2]: found["max_loaded_at"][:16].replace("T", " ")
        for found in sources
    }
    assert cells(quiet, "freshness") == [
        [name, f"{confirmed[name]} UTC", "20% of the usual rows", "good"]
        for name in sorted(confirmed)
    ]

    with duckdb.connect(str(built / "warehouse.duckdb"), read_only=True) as warehouse:
        load = warehouse.execute(
            "select source, strftime(started_at, '%Y-%m-%d %H:%M UTC'),"
            " strftime(finished_at, '%Y-%m-%d %H:%M UTC'), rows_read, rows_inserted"
            " from raw_classicmodels._load_runs"
        ).fetchone()
        assert load
        through = warehouse.execute("select * from intermediate.int_data_through").fetchone()
        rows = {
            node["name"]: warehouse.execute(f"select count(*) from marts.{node['name']}").fetchone()
            for node in manifest["nodes"].values()
            if node.get("access") == "public"
        }
    source, started, ended, read, new = load
    assert term(quiet, "From") == source
    assert term(quiet, "Last load") == f"succeeded; began {started}, ended {ended}"
    assert term(quiet, "Rows") == f"{read:,} read; {new:,} new, 0 changed, 0 gone"
    assert through and term(quiet, "Data through").startswith(f"{through[0]},")

    owned: dict[str, list[list[str]]] = {}
    for cell in cells(quiet, "marts"):
        if len(cell) == 1:
            team = owned.setdefault(cell[0], [])
        else:
            team.append(cell)
    groups = {group["name"]: group for group in manifest["groups"].values()}
    assert len(owned) == len(groups)
    listed = {mart[0]: (mart[2], heading) for heading, marts in owned.items() for mart in marts}
    assert listed.keys() == rows.keys()
    for node in manifest["nodes"].values():
        if node["name"] in rows:
            count, heading = listed[node["name"]]
            owner = groups[node["group"]]["owner"]
            assert (count,) == tuple(f"{n:,}" for n in rows[node["name"]] or ())
            assert heading.startswith(f"{owner['name']}, {owner['email']}")

    exposures = {found["label"]: found for found in manifest["exposures"].values()}
    shown = quiet.locator("#exposures tbody tr").all()
    assert len(shown) == len(exposures)
    for row in shown:
        exposure = exposures[row.locator("th").inner_text().partition("\n")[0]]
        assert exposure["owner"]["email"] in row.inner_text()
        read_from = {a.get_attribute("href") for a in row.locator("a[href^='docs.html']").all()}
        assert read_from == {
            f"docs.html#!/model/{node}" for node in exposure["depends_on"]["nodes"]
        }

    commit = run(built, "git", "rev-parse", "--short=10", "HEAD").out.strip()
    assert term(quiet, "Project") == f"classicmodels 1.0.0, commit {commit}"
    assert term(quiet, "Warehouse") == "duckdb: warehouse.duckdb"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC, took [0-9.]+ s", term(quiet, "Began"))


def test_red_build_is_red_on_the_start_page(page: Page) -> None:
    red, _ = red_build()
    page.goto((red / "target" / "site" / "index.html").as_uri())
    expect(page.locator("#run-title")).to_have_text("Last build: FAILED")
    failed = [
        found["unique_id"]
        for found in artifact(red, "run_results")["results"]
        if found["status"] in ("fail", "error")
    ]
    nodes = artifact(red, "manifest")["nodes"]
    page.get_by_role("link", name="What failed or warned").click()
    expect(page.locator("article.failure").first).to_be_in_viewport()
    shown = page.locator("article.failure:not(.warning)")
    expect(shown).to_have_count(len(failed))
    kinds = [unique_id.partition(".")[0] for unique_id in failed]
    assert set(kinds) == {"test", "model"}
    for kind, unique_id in zip(kinds, failed, strict=True):
        name = nodes[unique_id]["name"]
        said = shown.filter(has_text=f"FAILED {kind} {name}").inner_text()
        again = f"dbt test -s {name} --store-failures" if kind == "test" else f"dbt build -s {name}"
        assert again in said
    (tests,) = [row for row in cells(page, "outcomes") if row[0] == "Tests of rows"]
    assert tests[3] == str(kinds.count("test"))


def test_build_that_ends_early_is_red_above_what_was_before(copy: Path, page: Page) -> None:
    # The shop is gone, or rather was never there.
    early = script(copy, "build", SOURCE="sqlite:///none.sqlite", ALLOW_OTHER_SOURCE="1")
    assert early.status != 0
    (said,) = [line for line in early.err.splitlines() if line.startswith("make build: ")]
    page.goto((copy / "target" / "site" / "index.html").as_uri())
    expect(page.locator("#run-title")).to_have_text("Last build: FAILED")
    expect(page.locator("#run")).to_contain_text(said.removeprefix("make build: "))
    expect(page.locator("#run")).to_contain_text("Everything below is from the build before it.")
    assert len(cells(page, "marts")) > 20


def test_what_a_person_wrote_is_text(tmp_path: Path, page: Page) -> None:
    hostile = "<script>document.title = 'caught'</script><b>bold</b> & 'more'"
    note_failure(tmp_path / "target", hostile, "duckdb: x")
    page.goto((tmp_path / "target" / "site" / "index.html").as_uri())
    expect(page.locator("strong", has_text="caught")).to_have_text(hostile)
    assert page.title() != "caught" and not page.locator("b").count()


# -- lineage and diagram --------------------------------------------------------------------------


def test_lineage_shows_the_way_of_revenue_from_the_shop(base: str, quiet: Page) -> None:
    quiet.goto(base + "lineage.html")
    quiet.get_by_placeholder("Filter models").locator("visible=true").fill("fact_orders")
    quiet.get_by_text("fact_orders", exact=True).locator("visible=true").first.click()
    fact = "model.classicmodels.fact_orders"
    expect(quiet).to_have_url(re.compile(rf"[?&]model={re.escape(fact)}(&|$)"))
    # What is shown stands in the address. Clicks on boxes that are still being placed may be lost.
    quiet.goto(f"{base}lineage.html?model={fact}&column=revenue_amount&children=0&parents=2")
    lines = "stg_classicmodels__order_details"
    staging = f"model.classicmodels.{lines}"
    for way in (
        f"Edge from {staging} to {fact}",
        f"Edge from source.classicmodels.classicmodels.orderdetails to {staging}",
    ):
        expect(quiet.locator(f".react-flow__edge.animated[aria-label='{way}']")).to_have_count(1)
    ways = quiet.evaluate("window.colibriData.lineage.edges")
    steps = {
        (
            way["source"].split(".", 2)[2],
            way["sourceColumn"],
            way["target"].split(".", 2)[2],
            way["targetColumn"],
        )
        for way in ways
    }
    quantity = {
        ("classicmodels.orderdetails", "quantityordered", lines, "quantity_ordered"),
        (lines, "quantity_ordered", "fact_orders", "revenue_amount"),
    }
    assert steps >= REVENUE | quantity


def test_diagram_shows_every_mart_and_where_its_keys_lead(
    built: Path, base: str, quiet: Page
) -> None:
    quiet.goto(base + "diagram.html")
    nodes = artifact(built, "manifest")["nodes"]
    marts = {i: node for i, node in nodes.items() if node.get("access") == "public"}
    expect(quiet.locator(".mart")).to_have_count(len(marts))
    assert {mart.get_attribute("id") for mart in quiet.locator(".mart").all()} == {
        node["name"] for node in marts.values()
    }
    lines = {
        (line.get_attribute("data-from") or "", line.get_attribute("data-to") or "")
        for line in quiet.locator("#diagram svg > path").all()
    }
    # Each of the tests that say so, here told by hand in another way than diagram.py tells it.
    expected = set()
    for node in nodes.values():
        if node.get("attached_node") in marts:
            child, given = marts[node["attached_node"]]["name"], node["test_metadata"]["kwargs"]
            kind = node["test_metadata"]["name"]
            parents = given["parents"] if kind == "foreign_keys" else {}
            if kind == "relationships":
                parents = {given["column_name"]: given}
            for column, to in parents.items():
                parent = to["to"].split("'")[1]
                expected.add((f"{child}.{column}", f"{parent}.{to.get('field', column)}"))
    # Versions share an employee's key; a manager is one employee.
    expected.remove(("dim_employees.manager_key", "dim_employees.employee_key"))
    # Keys that pass through views and versions, or whose test would be another's.
    passed_on = {
        "dim_employees.manager_key": "dim_employees_current.employee_key",
        "dim_employees_current.manager_key": "dim_employees_current.employee_key",
        "dim_employees_current.office_key": "dim_offices.office_key",
        "dim_customers_current.location_key": "dim_locations.location_key",
        "dim_customers_current.employee_key": "dim_employees_current.employee_key",
        "dim_customers.customer_key": "dim_customers_current.customer_key",
        "dim_employees.employee_key": "dim_employees_current.employee_key",
        "dim_products.product_key": "dim_products_current.product_key",
        "customer_product_interactions.customer_key": "dim_customers_current.customer_key",
        "customer_product_interactions.product_key": "dim_products_current.product_key",
        "orders_obt.order_line_key": "fact_orders.order_line_key",
        "payment_matches.payment_key": "fact_payments.payment_key",
    }
    assert len(expected) > 25
    assert lines == expected | set(passed_on.items())
    listed = {(f"{row[0]}.{row[1]}", f"{row[2]}.{row[3]}") for row in cells(quiet, "leads")}
    assert listed == lines
    # A line begins and ends at the edges of the boxes of its marts.
    off = quiet.evaluate(
        """() => {
          const origin = document.getElementById("diagram").getBoundingClientRect();
          const edge = (end, x) => {
            const box = document.getElementById(end.split(".")[0]).getBoundingClientRect();
            const sides = [box.left, box.right].map((side) => side - origin.left);
            return Math.min(...sides.map((side) => Math.abs(side - x)));
          };
          return [...document.querySelectorAll("#diagram svg > path")].filter((path) => {
            const first = path.getPointAtLength(0);
            const last = path.getPointAtLength(path.getTotalLength());
            return edge(path.dataset.from, first.x) > 1 || edge(path.dataset.to, last.x) > 1;
          }).length;
        }"""
    )
    assert off == 0


def test_diagram_shows_the_lines_of_one_mart_alone(base: str, quiet: Page) -> None:
    quiet.goto(base + "diagram.html")
    quiet.get_by_role("link", name="fact_payments", exact=True).focus()
    chosen = quiet.locator("#diagram svg > path.of-it")
    assert {line.get_attribute("data-from") for line in chosen.all()} == {
        *(f"fact_payments.{key}_key" for key in ("customer", "customer_version", "location")),
        *(f"fact_payments.{key}_key" for key in ("employee", "employee_version", "office")),
        *("fact_payments.payment_date_key", "payment_matches.payment_key"),
    }


def test_diagrams_in_the_documents_are_those_of_the_project(built: Path) -> None:
    pages = ("docs/marts.md", "docs/diagram.md")
    before = {name: (built / name).read_text("utf-8") for name in pages}
    drawn = script(built, "catalog", "--diagram")
    assert drawn.status == 0, drawn.err
    after = {name: (built / name).read_text("utf-8") for name in before}
    assert after == before, "python scripts/catalog.py --diagram, and commit what it writes"
    assert after["docs/diagram.md"].count("}o--||") > 40
    assert after["docs/marts.md"].count("}o--||") > 25


def test_what_cannot_be_drawn_is_said_and_the_rest_is_there(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = copy / "target" / "site"
    for name in ("lineage.html", "diagram.html"):
        (site / name).unlink(missing_ok=True)
    # Written in the middle, say, when the machine went down.
    file = copy / "target" / "built" / "catalog.json"
    file.write_text(file.read_text("utf-8")[:1000], "utf-8")
    catalog.draw(copy / "target")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all(line.startswith("make docs: there is no new ") for line in said)
    left = {"index.html", "docs.html", "report.html", "incidents.html", "incidents.json"}
    assert {path.name for path in site.iterdir()} == left
    start = (site / "index.html").read_text("utf-8")
    assert 'href="docs.html"' in start and 'href="lineage.html"' not in start


def test_pages_are_drawn_once_for_a_build(
    built: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (built / "target" / "manifest.json").touch()  # as any dbt command does
    catalog.draw(built / "target")
    assert capsys.readouterr().out == ""
    time.sleep(0.01)
    (built / "target" / "built" / "manifest.json").touch()
    drawn: list[str] = []
    monkeypatch.setattr(catalog, "draw_lineage", lambda _target: drawn.append("lineage"))
    monkeypatch.setattr(catalog, "draw_diagram", lambda _target: drawn.append("diagram"))
    catalog.draw(built / "target")
    assert drawn == ["lineage", "diagram"]


def test_without_a_build_there_is_nothing_to_show(tmp_path: Path) -> None:
    fresh = copy_project(tmp_path / "fresh")
    shown: Run = script(fresh, "catalog")
    assert shown.status == 1
    nothing = "there is nothing to show of duckdb: warehouse.duckdb yet; run make build first."
    assert shown.err == f"make docs: {nothing}\n"


# -- exposures ------------------------------------------------------------------------------------


def read_by_dashboards(project: Path) -> set[str]:
    """The marts that Superset's datasets name: in their SQL, or as a table."""
    found = set()
    for file in (project / "bi" / "superset" / "datasets").rglob("*.yaml"):
        dataset = yaml.safe_load(file.read_text("utf-8"))
        found |= set(
            re.findall(r"\bmarts\.(\w+)", dataset["sql"] or f"marts.{dataset['table_name']}")
        )
    return found


def read_by_the_report(project: Path) -> set[str]:
    """The marts that the report's SQL names."""
    figures = (project / "pages" / "report" / "figures.py").read_text("utf-8")
    return set(re.findall(r"\{marts\}+\.(\w+)", figures))


@pytest.mark.parametrize(
    ("place", "read", "names"),
    [
        ("bi/superset", read_by_dashboards, {"sales_dashboard", "customers_dashboard"}),
        ("pages/report", read_by_the_report, {"html_report"}),
    ],
)
def test_exposures_name_what_is_read(place: str, read: Any, names: set[str], built: Path) -> None:
    if not (built / place).exists():
        pytest.skip(f"there is no {place}")
    exposures = artifact(built, "manifest")["exposures"].values()
    said = {
        node.rpartition(".")[2]
        for exposure in exposures
        if exposure["name"] in names
        for node in exposure["depends_on"]["nodes"]
    }
    assert said == read(built)
