"""What Redshift and its driver say when something fails."""

# The server's codes: a statement reached its time limit, a right is missing, another transaction
# wrote the same table.
CANCELLED, DENIED, NOT_SERIALIZABLE = "57014", "42501", "1023"


def code_of(error: Exception) -> str | None:
    """The server's code for an error, or None when it did not come from there."""
    said = error.args[0] if error.args else None
    return str(said.get("C")) if isinstance(said, dict) else None


def message_of(error: Exception) -> str:
    """What the server or the driver says, in a line."""
    said = error.args[0] if error.args else error
    text = str(said.get("M") or said) if isinstance(said, dict) else str(error)
    return " ".join(text.replace("-" * 10, " ").split()).strip(" -.")
