"""The errors that end a load."""


class LoadError(Exception):
    """A load failed and left the warehouse as it was; the text is one sentence for a person."""


class SilentError(LoadError):
    """Nothing answers at a server's address; a login that is refused is an answer."""


class UsageError(LoadError):
    """A request is wrong as written (exit code 2)."""


class BusyError(LoadError):
    """Another run is writing into the warehouse (exit code 75, which says: try again later)."""
