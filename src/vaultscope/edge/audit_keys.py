"""The key that seals an audit trail: a file that only its owner may read, and its public half beside it.

Ed25519 by the package `cryptography`, which is imported when a key is made, read or used: a trail can be read
without it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultscope.errors import AuditKeyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["SigningKey", "check_signature", "create_key", "load_key", "public_key", "write_whole"]

PUBLIC_SUFFIX = ".pub"
_KEY_BYTES_MAX = 16 << 10  # of a file that holds a key: another one is not read to its end
_HEXADECIMAL = re.compile("[0-9a-f]{64}")


class SigningKey:
    """A private key. `public`: the other half, 64 hexadecimal digits."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(message)


def check_signature(public: str, signature: bytes, message: bytes) -> bool:
    """Whether the signature is that of the message, by this public key.

    Raises:
        ModuleNotFoundError: `cryptography` is missing.
    """
    with _cryptography():
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def create_key(path: str | os.PathLike[str], *, replace: bool = False) -> SigningKey:
    """Makes a key: PEM, PKCS #8, not encrypted, mode 0600; its public half is in <path>.pub. The file is
    whole from the moment it has its name. Of several that make it at once one succeeds.

    Raises:
        FileExistsError: There is one, and it is not to be replaced.
        OSError: It cannot be written.
        ModuleNotFoundError: `cryptography` is missing.
    """
    with _cryptography():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_whole(path, pem, 0o600, replace=replace)
    write_public(path, private.public_key())
    return SigningKey(private)


def load_key(path: str | os.PathLike[str]) -> SigningKey:
    """Reads a key; writes its public half beside it, if that is not there.

    Raises:
        AuditKeyError: It is not there, others may read or replace it, or it is no Ed25519 key in PEM.
        ModuleNotFoundError: `cryptography` is missing.
    """
    with _cryptography():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            _refuse_open_to_others(name, os.fstat(file.fileno()))
            pem = file.read(_KEY_BYTES_MAX)
    except OSError as error:
        raise AuditKeyError(f"the key {name} cannot be read: {error.strerror}") from error
    try:
        private = load_pem_private_key(pem, None)
    except Exception:  # it has many ways to say so, and what is in the file must not get into a message
        raise AuditKeyError(f"{name} holds no key in PEM that can be read without a password") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise AuditKeyError(f"{name} holds a key of another kind than Ed25519")
    key = SigningKey(private)
    beside = ""
    with suppress(OSError):
        beside = _read_public(name + PUBLIC_SUFFIX)
    if beside != key.public:
        with suppress(OSError):  # a folder that is only read: it can be signed all the same
            write_public(name, private.public_key())
    return key


def _refuse_open_to_others(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AuditKeyError(f"{name} is no file")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise AuditKeyError(f"{name} may be used by others (mode {mode:04o}): chmod 600 {name}")
    if status.st_uid not in (os.geteuid(), 0):
        raise AuditKeyError(f"{name} belongs to another user ({status.st_uid}), who can replace it")


def public_key(source: str | os.PathLike[str]) -> str:
    """The public key of a file, of PEM or of 64 hexadecimal digits; or of such digits themselves.

    Raises:
        AuditKeyError: It cannot be read, or is no public key of Ed25519.
        ModuleNotFoundError: `cryptography` is missing.
    """
    name = os.fspath(source)
    if _HEXADECIMAL.fullmatch(name):
        return name
    try:
        found = _read_public(name)
    except OSError as error:
        raise AuditKeyError(f"the public key {name} cannot be read: {error.strerror}") from error
    if not found:
        raise AuditKeyError(f"{name} holds no public key of Ed25519")
    return found


def _read_public(name: str) -> str:
    """The public key in a file, "" if it is none. Raises OSError."""
    with _cryptography():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    with open(name, "rb") as file:
        data = file.read(_KEY_BYTES_MAX)
    text = data.decode("ascii", "replace").strip()
    if _HEXADECIMAL.fullmatch(text):
        return text
    try:
        public = load_pem_public_key(data)
    except Exception:
        return ""
    return public.public_bytes_raw().hex() if isinstance(public, Ed25519PublicKey) else ""


def write_public(path: str | os.PathLike[str], public: Any) -> None:
    """Writes <path>.pub, in PEM. Raises OSError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_whole(os.fspath(path) + PUBLIC_SUFFIX, pem, 0o644, replace=True)


def write_whole(path: str | os.PathLike[str], data: bytes, mode: int, *, replace: bool) -> None:
    """Writes a file that is there as a whole or not at all, also after a power cut; of that mode whatever the
    umask. One that may be replaced is written by one process at a time: what a kill leaves of it has one
    name. Raises FileExistsError unless it may replace one; OSError."""
    target = Path(path)
    part = target.with_name(f"{target.name}{'' if replace else f'.{os.urandom(4).hex()}'}.part")
    exclusive = os.O_TRUNC if replace else os.O_EXCL
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | exclusive | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        if replace:
            os.replace(part, target)
        else:
            os.link(part, target)
    finally:
        with suppress(OSError):
            os.unlink(part)
    sync_folder(target)


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Brings to the disk that a file has its name. Raises OSError."""
    fd = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _cryptography() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "cryptography":
            raise
        raise ModuleNotFoundError(
            "seals of an audit trail need cryptography: pip install 'vaultscope[audit]'", name=missing.name
        ) from None
