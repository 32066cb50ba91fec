"""What the loader says when it cannot go on."""


class LoadError(Exception):
    """A load that failed and left the warehouse as it was; one sentence for a person."""


class UsageError(LoadError):
    """A request that makes no sense as written (exit code 2)."""
