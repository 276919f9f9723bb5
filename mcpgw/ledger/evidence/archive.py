"""The zip file, in one spelling: the same files have the same bytes, and nothing hides between them. Pure.

Files stand in order of their names, deflated, with the DOS epoch as their time, without comments, extra fields or gaps. A
reader accepts nothing else: what two unzippers could read differently is no package. Source: PKWARE APPNOTE 6.3.10, sections
4.3.7, 4.3.12 and 4.3.16.
"""

import struct
import zlib
from collections.abc import Mapping

MAX_BYTES = 2**32 - 2
"""Beyond, a zip file needs another format (zip64)."""
MAX_FILES = 2**16 - 2
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_EPOCH = 33
"""1980-01-01 as a DOS date."""
_NEEDED = 20
_MADE = 3 << 8 | _NEEDED
"""Made on Unix, by a writer of version 2.0."""
_DEFLATED = 8
_MODE = 0o100644 << 16


class NotAPackage(ValueError):
    """Not a zip file in the one spelling that packages have."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what)
        self.where = where
        """The file in it that is damaged; empty where it is no such zip file at all."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return the zip file of these files.

    Raises:
        ValueError: they are too large, too many, or their names are not ASCII.
    """
    parts: list[bytes] = []
    directory: list[bytes] = []
    at = 0
    for name in sorted(files):
        body = files[name]
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = packer.compress(body) + packer.flush()
        local, central = _headers(name.encode("ascii"), zlib.crc32(body), len(packed), len(body), at)
        parts += [local, packed]
        directory.append(central)
        at += len(local) + len(packed)
        if at > MAX_BYTES or len(body) > MAX_BYTES or len(directory) > MAX_FILES:
            raise ValueError(f"a package holds at most 4 GB in {MAX_FILES} files; ask for less")
    central = b"".join(directory)
    return b"".join([*parts, central, _end(len(directory), len(central), at)])


def unpack(data: bytes) -> dict[str, bytes]:
    """Return the files of a zip file that `pack` could have written, whatever the compressor.

    Raises:
        NotAPackage: it is not that.
    """
    try:
        _, _, _, count, _, length, at, _ = _END.unpack(data[-_END.size :])
        if data[-_END.size :] != _end(count, length, at) or at + length + _END.size != len(data):
            raise NotAPackage("it does not end as a package does")
        files: dict[str, bytes] = {}
        offset, entry = 0, at
        for _ in range(count):
            _, _, _, _, method, _, _, crc, packed, size, named, _, _, _, _, _, _ = _CENTRAL.unpack_from(data, entry)
            name = data[entry + _CENTRAL.size : entry + _CENTRAL.size + named]
            local, central = _headers(name, crc, packed, size, offset)
            body_at = offset + len(local)
            if method != _DEFLATED or data[offset:body_at] != local or data[entry : entry + len(central)] != central:
                raise NotAPackage("one of its headers says what a package's do not say")
            text = name.decode("ascii")
            if files and text <= next(reversed(files)):
                raise NotAPackage("its files are not in order")
            try:
                files[text] = _inflated(data[body_at : body_at + packed], size, crc)
            except zlib.error as error:
                raise NotAPackage("a file in it is damaged", text) from error
            offset, entry = body_at + packed, entry + len(central)
        if offset != at or entry != at + length:
            raise NotAPackage("there is something between its files")
    except (struct.error, UnicodeDecodeError) as error:
        raise NotAPackage(f"it is no zip file: {type(error).__name__}") from error
    return files


def _headers(name: bytes, crc: int, packed: int, size: int, at: int) -> tuple[bytes, bytes]:
    common = (0, _DEFLATED, 0, _EPOCH, crc, packed, size, len(name), 0)
    local = _LOCAL.pack(b"PK\x03\x04", _NEEDED, *common) + name
    return local, _CENTRAL.pack(b"PK\x01\x02", _MADE, _NEEDED, *common, 0, 0, 0, _MODE, at) + name


def _end(count: int, length: int, at: int) -> bytes:
    return _END.pack(b"PK\x05\x06", 0, 0, count, count, length, at, 0)


def _inflated(packed: bytes, size: int, crc: int) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    body = unpacker.decompress(packed, size + 1)
    if len(body) != size or not unpacker.eof or unpacker.unused_data or zlib.crc32(body) != crc:
        raise zlib.error("it is not what its header says")
    return body
