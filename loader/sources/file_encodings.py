"""Text files in any encoding, as lines of UTF-8."""

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import LoadError

_ASCII = bytes(range(128))
# Characters of several scripts: if one is written in ASCII bytes, those bytes mean something else.
_CHARACTERS = "é€žя中東한漢ｱ"
_MARKS: dict[str, tuple[bytes, ...]] = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
# What every encoding of CSV and JSON has to write.
_SAMPLE = 'id,"name";{+-}|\t\n1,2\r\n'


def known_encoding(name: str) -> str | None:
    """Python's name of an encoding in which files can be read; None for others."""
    try:
        found = codecs.lookup(name).name
        data = _SAMPLE.encode(found)
        pieces = (data[n : n + 1] for n in range(len(data)))
        if _keeps_ascii(found) or "".join(codecs.iterdecode(pieces, found)) == _SAMPLE:
            # The encodings of mainframes end lines with another character.
            newline = "\n".encode(found)
            return None if len(newline) == 1 and newline != b"\n" else found
    except (LookupError, UnicodeError):
        pass
    return None


def lines(path: Path, encoding: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file, compressed or not, in UTF-8 and counted from 1."""
    decode = _line_by_line if _keeps_ascii(encoding) else _as_a_stream
    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with unpack(path, "rb") as stream:
            yield from decode(path, stream, encoding)
    except (OSError, EOFError, zlib.error) as error:
        raise LoadError(f"{path} cannot be read: {error}.") from None


def _keeps_ascii(encoding: str) -> bool:
    """Whether ASCII bytes are always ASCII characters, at least at the start of a line.

    Not so in UTF-16, nor in encodings of seven bits, which shift between alphabets.
    """
    try:
        if _ASCII.decode(encoding) != _ASCII.decode("ascii"):
            return False
    except UnicodeError:
        return False
    return not any(
        (written := character.encode(encoding, "ignore")) and written.isascii()
        for character in _CHARACTERS
    )


def _line_by_line(
    path: Path, stream: Iterable[bytes], encoding: str
) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(stream, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.isascii():
            try:
                line = line.decode(encoding).encode()
            except UnicodeDecodeError as error:
                before = line[: error.start].decode(encoding, "replace")
                raise _undecodable(path, number, before, error, encoding) from None
        yield number, line


def _as_a_stream(path: Path, stream: Iterable[bytes], encoding: str) -> Iterator[tuple[int, bytes]]:
    decoder = codecs.getincrementaldecoder(encoding)()
    number, text = 1, ""
    pieces = iter(stream)
    marks = _MARKS.get(encoding, ())
    while True:
        piece = next(pieces, None)
        if marks and not (piece or b"").startswith(marks):
            raise LoadError(
                f"{path} has no byte order mark: say ?encoding={encoding}-le or {encoding}-be in"
                " the source URL."
            )
        marks = ()
        try:
            text += decoder.decode(piece or b"", final=piece is None)
            text.encode()  # half of a surrogate pair is not a character
        except UnicodeDecodeError as error:
            raise _undecodable(path, number, text, error, encoding) from None
        except UnicodeEncodeError:
            raise LoadError(
                f"{path}, line {number}: half of a surrogate pair is not a character."
            ) from None
        if number == 1:
            text = text.removeprefix("\ufeff")
        *whole, text = text.split("\n")
        for line in whole:
            yield number, f"{line}\n".encode()
            number += 1
        if piece is None:
            break
    if text:
        yield number, text.encode()


def _undecodable(
    path: Path, number: int, before: str, error: UnicodeDecodeError, encoding: str
) -> LoadError:
    # Some decoders do not say where in the bytes it is.
    found = (
        f"0x{error.object[error.start]:02X}" if error.start < len(error.object) else "at the end"
    )
    return LoadError(
        f"{path}, line {number}: the byte {found} at character {len(before) + 1} is not"
        f" {encoding}: name the file's encoding with ?encoding= in the source URL."
    )
