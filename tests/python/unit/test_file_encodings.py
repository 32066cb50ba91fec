"""Files are decoded as their encoding says, or refused; whatever state the encoding keeps."""

from __future__ import annotations

import codecs
import gzip
import random
from encodings.aliases import aliases
from pathlib import Path

import pytest

from loader import LoadError
from loader.sources.file_encodings import known_encoding, lines

TEXTS = ("東京", "中文", "한글", "Grüße", "Łódź", "привет", "ｱｲｳ", "+1 & ~{x~}", "a,b;c", "x\r")
# Not text, no encoding of files, or another end of line.
REFUSED = {
    *("base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"),
    *("cp037", "cp273", "cp424", "cp500", "cp1026", "cp1140", "idna", "punycode", "undefined"),
    # Only on Windows.
    *("mbcs", "oem"),
}


def read(path: Path, encoding: str) -> str:
    found = list(lines(path, encoding))
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert all(line.count(b"\n") <= 1 for _, line in found)
    return b"".join(line for _, line in found).decode()


@pytest.mark.parametrize("name", sorted({*aliases.values(), "idna", "punycode", "undefined"}))
def test_each_encoding_is_read_right_or_refused(name: str, tmp_path: Path) -> None:
    encoding = known_encoding(name)
    assert (encoding is None) == (name in REFUSED)
    if encoding is None:
        return
    chosen = random.Random(name)
    texts = []
    for text in TEXTS:
        try:
            if text.encode(encoding).decode(encoding) == text:
                texts.append(text)
        except UnicodeError:
            continue
    rows = ["".join(chosen.choices(texts, k=3)) for _ in range(50)]
    content = "id,name\n" + "".join(f"{row}\n" for row in rows) + "no end"
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(content.encode(encoding)))
    assert read(path, encoding) == content


def test_marks_of_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for encoding, data in (
        ("utf-8", codecs.BOM_UTF8 + b"a\n"),
        ("utf-16", codecs.BOM_UTF16_BE + "a\n".encode("utf-16-be")),
        ("utf-16-le", codecs.BOM_UTF16_LE + "a\n".encode("utf-16-le")),
        ("utf-32", "a\n".encode("utf-32")),
    ):
        path.write_bytes(data)
        assert read(path, encoding) == "a\n"
    path.write_bytes("a\n".encode("utf-16-be"))
    with pytest.raises(LoadError, match=r"no byte order mark: say \?encoding=utf-16-le or"):
        read(path, "utf-16")


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("iso2022_jp", b"a\nb\n\x1b$B\xff\xff\n"),
        ("hz", b"a\nb\n~{\xff~}\n"),
        ("utf-7", b"a\nb\n+AAA\xff\n"),
        ("utf-7", b"a\nb\n+2AA-\n"),
        ("utf-16-le", "a\nb\n".encode("utf-16-le") + b"\x00\xd8\n\x00"),
        ("utf-16-le", "a\nb\n".encode("utf-16-le") + b"\x41"),
        ("shift_jis", b"a\nb\n\x81\n"),
        ("utf-8", b"a\nb\n\xe9\n"),
    ],
)
def test_what_cannot_be_decoded_is_a_sentence(encoding: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(LoadError) as caught:
        read(path, encoding)
    said = str(caught.value)
    assert said.startswith(f"{path}, line 3: ") and said.endswith(".") and "\n" not in said
