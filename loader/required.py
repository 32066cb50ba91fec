"""What the models read: the tables and columns that the sources of a dbt project declare.

Only text is read, so a load needs no dbt: YAML for the sources, and the models' SQL for which marts
need a column.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .audit import COMMIT_TABLES, RUN_TABLES, STATE_TABLES, TABLES
from .errors import UsageError
from .schema import METADATA_COLUMNS, Kind, Type

PROJECT_FILE = "dbt_project.yml"
_READER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# How a dbt project may call a type.
_KINDS = {kind.value: kind for kind in Kind} | {
    "numeric": Kind.DECIMAL,
    "varchar": Kind.TEXT,
    "string": Kind.TEXT,
    "int": Kind.INTEGER,
    "blob": Kind.BINARY,
    "bytea": Kind.BINARY,
    "double precision": Kind.DOUBLE,
}


@dataclass(frozen=True)
class Required:
    """By raw table: its columns that are read, each with the type that the models make of it.

    A column without a type can have any. `project` is the folder of the dbt project, if any.
    """

    tables: Mapping[str, Mapping[str, Type | None]] = field(default_factory=dict)
    project: Path | None = None

    def marts(self, table: str, column: str | None = None) -> list[str]:
        """The marts that need a table, or a column of it, by name."""
        return _marts(self.project, table, column) if self.project else []


NOTHING = Required()


def read_required(entries: Sequence[str], folder: Path, where: str) -> Required:
    """What must be there: `models/` or a YAML file of dbt, a table, or `table.column`.

    Paths are relative to `folder`. Raises UsageError that begins with `where`.
    """
    tables: dict[str, dict[str, Type | None]] = {}
    project: Path | None = None
    for entry in entries:
        path = folder / entry
        if not path.exists():
            if "/" in entry or entry.endswith((".yml", ".yaml")):
                raise UsageError(f"{where}: there is no file or folder {path}.")
            table, _, column = entry.lower().partition(".")
            columns = tables.setdefault(table, {})
            if column:
                columns[column] = None
            continue
        project = project or _project_of(path)
        found = dict(_declared(path, project, where))
        if not found:
            raise UsageError(f"{where}: {path} declares no sources of dbt in the raw schema.")
        for table, declared in found.items():
            tables.setdefault(table, {}).update(declared)
    return Required(tables, project)


def _declared(
    path: Path, project: Path | None, where: str
) -> Iterator[tuple[str, dict[str, Type | None]]]:
    """Tables of the sources below a path that lie in the raw schema, without the loader's own."""
    own = TABLES | STATE_TABLES | COMMIT_TABLES | RUN_TABLES
    files = [path] if path.is_file() else sorted([*path.rglob("*.yml"), *path.rglob("*.yaml")])
    for file in files:
        text = _text(file, where)
        if not re.search(r"^sources:", text, re.MULTILINE):
            continue
        for source in _yaml(text, file, where).get("sources") or []:
            if not _is_raw(source, project, where):
                continue
            for table in source.get("tables") or []:
                name = str(table.get("identifier") or table["name"]).lower()
                if name in own:
                    continue
                columns = {str(c["name"]).lower(): c for c in table.get("columns") or []}
                yield (
                    name,
                    {
                        column: _type(found.get("data_type"), f"{where}: {file}, {name}.{column}")
                        for column, found in columns.items()
                        if column not in METADATA_COLUMNS
                    },
                )


def _is_raw(source: Mapping[str, Any], project: Path | None, where: str) -> bool:
    """Whether a source of dbt is what the loader writes: its schema is the variable raw_schema."""
    schema = str(source.get("schema") or source.get("name"))
    if project is None or "raw_schema" in schema:
        return True
    settings = _yaml(_text(project / PROJECT_FILE, where), project / PROJECT_FILE, where)
    return schema == (settings.get("vars") or {}).get("raw_schema")


def _type(text: object, where: str) -> Type | None:
    if text is None:
        return None
    match = re.fullmatch(r"([a-z ]+?) *(?:\( *(\d+) *, *(\d+) *\))?", str(text).strip().lower())
    kind = _KINDS.get(match[1]) if match else None
    if match is None or kind is None or (kind is Kind.DECIMAL) != bool(match[2]):
        raise UsageError(
            f"{where}: the data_type {text} is unknown; use one of"
            f" {', '.join('numeric(p, s)' if k is Kind.DECIMAL else k.value for k in Kind)}."
        )
    return Type(kind, int(match[2] or 0), int(match[3] or 0))


def _project_of(path: Path) -> Path | None:
    above = [path, *path.resolve().parents]
    return next((folder for folder in above if (folder / PROJECT_FILE).is_file()), None)


def _text(file: Path, where: str) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: {file} cannot be read: {error}.") from None


def _yaml(text: str, file: Path, where: str) -> dict[str, Any]:
    try:
        found = yaml.load(text, Loader=_READER)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{where}: {file} is not YAML: {said}.") from None
    return found if isinstance(found, dict) else {}


# -- which marts need a column ---------------------------------------------------------------------


@dataclass
class _Node:
    """A model or snapshot: its SQL, what it reads, and its columns as far as its YAML has them."""

    sql: str
    is_mart: bool
    reads: set[str]
    tables: set[str]
    columns: set[str] = field(default_factory=set)


def _marts(project: Path, table: str, column: str | None) -> list[str]:
    """Follows the name of a column, and the names that models give it, from model to model.

    It follows words, not SQL, so it may name a mart too many. It is for a message.
    """
    nodes = _nodes(project)
    carried: dict[str, set[str]] = {}
    todo = [(name, {column or ""}) for name, node in nodes.items() if table in node.tables]
    while todo:
        name, words = todo.pop()
        node = nodes[name]
        new = _names_for(node, words) if column else words
        if not new or new <= carried.get(name, set()):
            continue
        carried.setdefault(name, set()).update(new)
        todo += [(reader, new) for reader, other in nodes.items() if name in other.reads]
    return sorted(name for name in carried if nodes[name].is_mart)


def _names_for(node: _Node, words: set[str]) -> set[str]:
    """The columns of a node in which one of these words arrives, under any of its names."""
    items = [
        (set(re.findall(r"\w+", item)), re.search(r"\bas\s+(\w+)\s*$", item))
        for item in _items(node.sql)
    ]
    known, found = set(words), words & node.columns
    while True:
        new: set[str] = set()
        for mentioned, alias in items:
            if same := known & mentioned:
                new |= {alias[1]} if alias else same
        if new <= found:
            return found & node.columns if node.columns else found
        found |= new
        known |= new


def _items(sql: str) -> Iterator[str]:
    """What stands between the commas of each select, and between its clauses."""
    item, is_query = "", [False]  # by parenthesis
    for word in re.split(r"(\bselect\b|\bfrom\b|[(),])", sql):
        ends = word in ("select", "from") or (word in ",)" and word and is_query[-1])
        if word == "(":
            is_query.append(False)
        elif word == ")" and len(is_query) > 1:
            is_query.pop()
        elif word == "select":
            is_query[-1] = True
        if ends:
            yield item
        item = "" if ends else item + word
    yield item


def _nodes(project: Path) -> dict[str, _Node]:
    nodes: dict[str, _Node] = {}
    for file in sorted((project / "models").rglob("*.sql")):
        sql = re.sub(r"--.*", "", file.read_text("utf-8", "replace"))
        nodes[file.stem] = _Node(
            sql,
            "marts" in file.relative_to(project).parts,
            set(re.findall(r"\bref\(\s*['\"](\w+)", sql)),
            {name.lower() for name in re.findall(r"\bsource\([^,)]+,\s*['\"](\w+)", sql)},
        )
    for file in sorted((*project.glob("models/**/*.yml"), *project.glob("snapshots/**/*.yml"))):
        try:
            found = yaml.load(file.read_text("utf-8", "replace"), Loader=_READER) or {}
        except yaml.YAMLError:
            continue
        for entry in [*(found.get("models") or []), *(found.get("snapshots") or [])]:
            if relation := entry.get("relation"):
                reads = set(re.findall(r"\bref\(\s*['\"](\w+)", relation))
                nodes[entry["name"]] = _Node("", False, reads, set())
            if entry["name"] in nodes:
                columns = {str(c["name"]).lower() for c in entry.get("columns") or []}
                nodes[entry["name"]].columns |= columns
    return nodes
