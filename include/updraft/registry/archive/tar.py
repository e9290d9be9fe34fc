"""The plainest tar: regular files with headers of one block, written and read in a stream.

`tarfile` remembers each member, and reads extended headers of any size into memory. So only its headers are used.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from updraft.registry.s3 import BadRegistry, VerificationError

BLOCK, CHUNK = tarfile.BLOCKSIZE, 1 << 20
OCTAL = 8**11  # bytes; the size of a larger file needs GNU's form of numbers


def write_member(sink: BinaryIO, name: str, size: int, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write a file; return how many bytes came and their sha256. Unless `size` came, the archive is broken."""
    info = tarfile.TarInfo(name)
    info.size = size
    try:
        header = info.tobuf(tarfile.USTAR_FORMAT if size < OCTAL else tarfile.GNU_FORMAT, "utf-8", "strict")
    except ValueError:
        header = b""
    if len(header) != BLOCK:
        raise BadRegistry(f"{name!r} is too long a name for an archive")
    sink.write(header)
    digest, written = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        written += len(chunk)
        if written > size:
            break
        sink.write(chunk)
    sink.write(bytes(-written % BLOCK))
    return written, digest.hexdigest()


def write_end(sink: BinaryIO) -> None:
    """End the archive."""
    sink.write(bytes(2 * BLOCK))


class TarReader:
    """Reads members in their order. Whatever is not the member that is expected is refused, by its name."""

    def __init__(self, file: BinaryIO, place: str) -> None:
        self._file, self.place = file, place

    def enter(self, name: str, size: int | None = None) -> int:
        """Read the header of the next member, which must be the file `name` (of `size` bytes); return its size."""
        info = self._header(f"before {name!r}")
        if info is None:
            raise VerificationError(f"{self.place}: ends before {name!r}: it was cut off, or members were taken out")
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise VerificationError(f"{self.place}: member {info.name!r} is no regular file; expected {name!r}")
        if info.name != name:
            raise VerificationError(f"{self.place}: member {info.name!r} does not belong here; expected {name!r}")
        if info.size < 0 or (size is not None and info.size != size):
            raise VerificationError(f"{self.place}: member {name!r} has {info.size:,} bytes, expected {size or 0:,}")
        return info.size

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        """Read the member that was entered."""
        left = size
        while left:
            chunk = self._file.read(min(CHUNK, left))
            if not chunk:
                raise VerificationError(f"{self.place}: ends within {name!r}: it was cut off")
            left -= len(chunk)
            yield chunk
        self._file.read(-size % BLOCK)

    def skip(self, size: int) -> None:
        """Pass over the member that was entered."""
        self._file.seek(size + -size % BLOCK, 1)

    def require_end(self) -> None:
        """Raise VerificationError unless nothing follows but zeros."""
        info = self._header("at its end")
        if info is not None:
            raise VerificationError(f"{self.place}: member {info.name!r} does not belong here; expected the end")
        if any(self._file.read(BLOCK)) or any(self._file.read(tarfile.RECORDSIZE)) or self._file.read(1):
            raise VerificationError(f"{self.place}: goes on after its end")

    def _header(self, where: str) -> tarfile.TarInfo | None:
        block = self._file.read(BLOCK)
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return None
        except tarfile.HeaderError:
            problem = "is cut off" if len(block) < BLOCK else "is no archive, or a byte of a header was changed,"
            raise VerificationError(f"{self.place}: {problem} {where}") from None
