"""Sources: each lists its tables in one consistent snapshot and yields their rows as wire text."""

import threading
from importlib import import_module

from ..errors import UsageError
from ..urls import parse_url
from .base import Source, Wanted

__all__ = ["MODULES", "Source", "Wanted", "import_aside", "open_source"]

# URL scheme -> module of this package. A new source is one module and a row here.
MODULES = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "postgres",
    "postgres": "postgres",
    "sqlite": "sqlite",
    "file": "files",
}


def import_aside(url: str) -> None:
    """Begin to import what opens this source, while others wait for a file or a server."""
    module = MODULES.get(parse_url(url).scheme)
    if module is not None:
        # Python waits for it at its end: a library that is being imported then would abort.
        threading.Thread(target=import_module, args=(f".{module}", __name__)).start()


def open_source(url: str) -> Source:
    """Connect to the source and begin its snapshot.

    Raises UsageError for a wrong URL, LoadError when the source cannot be reached.
    """
    parsed = parse_url(url)
    module = MODULES.get(parsed.scheme)
    if module is None:
        known = ", ".join(f"{scheme}://" for scheme in MODULES)
        raise UsageError(f"{parsed.scheme}:// is not a source that the loader knows; use {known}.")
    source: Source = import_module(f".{module}", __name__).open_source(parsed)
    return source
