"""Which files of a folder are tables, and why the others are not."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import LoadError

# File name ending -> kind of file.
KINDS = {
    f".{name}{packed}": kind
    for name, kind in {"csv": "csv", "tsv": "tsv", "jsonl": "jsonl", "ndjson": "jsonl"}.items()
    for packed in ("", ".gz")
} | {".parquet": "parquet"}
SCHEMA_FILE = "schema.yml"
# What Spark and others write beside the parts of a table; anything else that begins so is the log
# of a format in which not every file counts.
MARKERS = {"_SUCCESS", "_metadata", "_common_metadata"}
# How programs name the parts of one table.
PART = re.compile(r"part[-._]?([rm][-_])?\d|data[-_]\d|\d+_part_\d", re.IGNORECASE)


@dataclass(frozen=True)
class DataFile:
    """One table of the source: a file, or a folder of parts."""

    path: Path
    table: str
    kind: str

    @property
    def parts(self) -> list[Path]:
        """The files that hold its rows, as they are now."""
        if not self.path.is_dir():
            return [self.path]
        inside = sorted(self.path.iterdir())
        return [path for path in inside if not path.name.startswith((".", "_"))]

    @property
    def state(self) -> list[tuple[object, ...]]:
        """Changes when a file does, comes or goes."""
        found: list[tuple[object, ...]] = []
        try:
            for path in self.parts:
                stat = path.stat()
                found.append((path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except OSError:
            return []
        return found


def list_files(pattern: str, schema: Path | None) -> tuple[list[DataFile], dict[str, str]]:
    """The tables that a folder, a file or a glob names, and why other files are left out.

    `schema`: the schema file, which is no data. Raises LoadError where there is no table.
    """
    path = Path(pattern)
    try:
        if path.is_dir():
            whole = path if _holds_only_parts(path) else None
            paths = [whole] if whole else list(path.iterdir())
        elif path.is_file():
            paths = [path]
        else:
            paths = list(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))
    except OSError as error:
        raise LoadError(f"{pattern} cannot be read: {error.strerror}.") from None
    if not paths and not path.is_dir():
        hint = f"; an absolute path has a slash of its own, file:////{pattern}"
        hint = hint if Path("/", pattern).exists() and not path.is_absolute() else ""
        raise LoadError(f"There is no file {pattern}: check the path in the source URL{hint}.")
    ignored = (schema or folder_of(pattern) / SCHEMA_FILE).absolute()
    found: dict[str, DataFile] = {}
    left_out = {}
    for path in sorted(paths):
        is_hidden = path.name.startswith(".")
        if path.name in MARKERS or path.absolute() == ignored or (is_hidden and not _kind(path)):
            continue
        file = "a hidden file" if is_hidden else _table_of(path)
        if isinstance(file, str):
            left_out[path.name] = file
            continue
        if file.table in found:
            raise LoadError(
                f"{found[file.table].path} and {path} are both the table {file.table}: move"
                " one away."
            )
        found[file.table] = file
    if not found:
        beside = "".join(f" {name} is {why}." for name, why in left_out.items())
        raise LoadError(f"{pattern} has no file to load: names end in {', '.join(KINDS)}.{beside}")
    # A folder may have the name of a table.
    named = {f"./{name}" if name in found else name: why for name, why in left_out.items()}
    return list(found.values()), named


def folder_of(pattern: str) -> Path:
    """The folder of the files that a source names."""
    return Path(pattern) if Path(pattern).is_dir() else Path(pattern).parent


def _table_of(path: Path) -> DataFile | str:
    """A file or folder as a table, or why it is none."""
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        return "not a file, or a link to one that does not exist"
    kind = _kind(path)
    if kind is not None:
        return DataFile(path, _without_ending(path.name), kind)
    if set(path.suffixes) & set(KINDS):
        raise LoadError(
            f"{path} is not a file that can be read: unpack it, wait until it is complete,"
            " or move it away."
        )
    return "a file of another kind: names end in .csv, .tsv, .jsonl, .ndjson (or .gz) or .parquet"


def _folder(path: Path) -> DataFile | str:
    """A folder as the table of its parts, or why it is none."""
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        return f"a folder that cannot be read: {error.strerror}"
    parts = []
    for entry in inside:
        if entry.is_dir() or (entry.name.startswith("_") and entry.name not in MARKERS):
            return f"a folder with {entry.name} in it, so its files are not simply one table"
        if entry.name in MARKERS or entry.name.startswith("."):
            continue
        if not entry.is_file() or _kind(entry) is None:
            return f"a folder with {entry.name} in it, which is no part of a table"
        parts.append(entry)
    kinds = {_kind(part) for part in parts}
    if not parts:
        return "an empty folder"
    if len(kinds) > 1:
        return "a folder with files of several kinds"
    written_as_one = _without_ending(path.name) != path.name or path / "_SUCCESS" in inside
    if not written_as_one and not all(PART.match(part.name) for part in parts):
        return "a folder: its files are not named as the parts of one table (part-0001)"
    return DataFile(path, _without_ending(path.name), str(kinds.pop()))


def _holds_only_parts(path: Path) -> bool:
    """Whether the source's own folder is one table."""
    found = _folder(path)
    return isinstance(found, DataFile) and all(PART.match(part.name) for part in found.parts)


def _kind(path: Path) -> str | None:
    return KINDS.get(_ending(path.name))


def _ending(name: str) -> str:
    endings = sorted(KINDS, key=len, reverse=True)
    return next((ending for ending in endings if name.lower().endswith(ending)), "")


def _without_ending(name: str) -> str:
    return name[: len(name) - len(_ending(name))]
