"""Opens a table as a stream, so that no file is ever held whole: gzipped or not, and of text in UTF-8 whatever its encoding."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tfrecs.errors import DataError

Report = Callable[[int, int], None]
"""Called with the bytes of the files that are read, and their total."""

BLOCK = 1 << 25  # Bytes of text parsed at a time; as columns they take some three times as much.

_GZIP = b"\x1f\x8b"
_BOMS = {
    # UTF-32's little-endian mark begins with that of UTF-16.
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Stream:
    """A file that can be read from its beginning again and again.

    Args:
      path: of the file; gzip is recognised by content.
      report: called with the bytes read and the size of the file, as they lie on the disk.
    """

    def __init__(self, path: Path, report: Report = lambda done, total: None):
        self._path, self._report = path, report

    @contextmanager
    def bytes(self) -> Iterator[BinaryIO]:
        """Open the content.

        Raises:
          DataError: from the block too, where the file cannot be read.
        """
        try:
            with self._path.open("rb", buffering=0) as file:
                counted = io.BufferedReader(_Counted(file, self._path.stat().st_size, self._report), 1 << 20)
                if counted.peek(2).startswith(_GZIP):
                    with gzip.GzipFile(fileobj=counted) as content:
                        yield cast(BinaryIO, content)
                else:
                    yield cast(BinaryIO, counted)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self._path}: cannot be read ({error})") from error

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Open the content so that one can go back in it; what is gzipped is unpacked to the disk. Raises as `bytes`."""
        with self.bytes() as content:
            if not isinstance(content, gzip.GzipFile):
                yield content
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(content, copy, 1 << 20)
                copy.seek(0)
                yield cast(BinaryIO, copy)

    @contextmanager
    def text(self, encoding: str | None = None) -> Iterator[BinaryIO]:
        """Open the content as UTF-8 without a byte order mark.

        Args:
          encoding: None: as the byte order mark says, else UTF-8. Undefined bytes of a single-byte encoding are kept, so
            that their line is reported later.

        Raises:
          ValueError: from the block, where the content is not in that encoding.
        """
        with self.bytes() as content:
            start = content.peek(4)  # type: ignore[attr-defined]
            encoding = encoding or next((name for mark, name in _BOMS.items() if start.startswith(mark)), "utf-8-sig")
            if encoding.lower() not in ("utf-8-sig", "utf-8", "utf8"):
                yield cast(BinaryIO, io.BufferedReader(_Recoded(content, encoding), 1 << 20))
                return
            if start.startswith(codecs.BOM_UTF8):
                content.read(len(codecs.BOM_UTF8))
            yield content


class _Counted(io.RawIOBase):
    """A file that reports how far it was read."""

    def __init__(self, file: io.FileIO, size: int, report: Report):
        self._file, self._size, self._report, self._done = file, size, report, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer)
        self._done = min(self._done + count, self._size)  # A parquet file is not read from its beginning to its end.
        self._report(self._done, self._size)
        return count


class _Recoded(io.RawIOBase):
    """Text in another encoding, as UTF-8."""

    def __init__(self, content: BinaryIO, encoding: str):
        self._content, self._encoding = content, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._left, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left and not self._ended:
            raw = self._content.read(max(len(buffer), 1))
            self._ended = not raw
            try:
                self._left = self._decoder.decode(raw, final=self._ended).encode("utf-8", "surrogateescape")
            except UnicodeError as error:
                why = f"not {self._encoding} ({error}); correct `encoding` in the spec, or save it as UTF-8"
                raise ValueError(why) from error
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def blocks(content: BinaryIO, size: int = BLOCK) -> Iterator[bytes]:
    """Cut text into blocks of about `size` bytes, each of whole lines (that end in LF, CR LF or CR)."""
    rest = b""
    while piece := content.read(size):
        data = rest + piece
        # A CR at the end may be half of a CR LF.
        end = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, len(data) - 1) + 1
        rest = data[end:]
        if end:
            yield data[:end]
    if rest:
        yield rest


def separator_of(start: bytes, usual: str) -> str:
    """Return the separator of a delimited UTF-8 file: `usual`, unless the header lacks it and has another one.

    csv files of countries with a decimal comma have semicolons, exports of databases tabs or bars.

    Args:
      start: of the file, with its header.
      usual: of such files.
    """
    header = start.lstrip(b"\r\n").partition(b"\n")[0].decode("utf-8", "replace")
    bare = re.sub(r'"[^"]*"', "", header)
    return usual if usual in bare else max(f"{usual};\t,|", key=bare.count)
