"""Log records as bytes, put together from what record.h says, and their lines from the library itself."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from pathlib import Path

import vaultscope

NULL, BOOL, I64, U64, F64, TEXT, BYTES, JSON = range(8)
CUT = 1


def field(kind: int, key: bytes, value: bytes, flags: int = 0) -> bytes:
    """A field as it lies in a record."""
    return struct.pack("=BBBBI", kind, flags, len(key), 0, len(value)) + key + value


def record(message: bytes, fields: Sequence[bytes], *, logger: bytes = b"", vault: bytes = b"") -> bytes:
    """A record of level info, at the first nanosecond of 1970, of process 5 and thread 6, in a trace."""
    body = logger + vault + message + b"".join(fields)
    sizes = struct.pack("=IIHH", 56 + len(body), len(message), len(fields), 0)
    return struct.pack("=QQQQII", 1, 2, 3, 4, 5, 6) + sizes + bytes([2, 0, len(logger), len(vault)]) + body


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("capacity", ctypes.c_size_t),
        ("failed", ctypes.c_bool),
    )


def _library() -> ctypes.CDLL:
    (folder,) = vaultscope.get_library_dirs()
    library = ctypes.CDLL(str(Path(folder) / "libvaultscope.so"))
    library.vs_log_render_json.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(_Buffer)
    library.vs_log_render_json.restype = ctypes.c_bool
    return library


def render(data: bytes) -> tuple[bool, bytes]:
    """What vs_log_render_json makes of the bytes, and whether they were a record."""
    library, buffer = _library(), _Buffer()
    readable: bool = library.vs_log_render_json(data, len(data), ctypes.byref(buffer))
    line = ctypes.string_at(buffer.data, buffer.size)
    library.vs_buffer_free(ctypes.byref(buffer))
    return readable, line
