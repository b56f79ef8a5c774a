"""Keys of audit trails: how they are made, what is refused, and what still works without them."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from audits import DEADLINE, entries, findings, kinds, open_log, say, verbs, write_log
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from vaultscope.core.audit_entry import Anchor, Seal, read_line
from vaultscope.edge.audit_keys import check_signature, create_key, load_key, public_key
from vaultscope.errors import AuditError, AuditKeyError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.audit"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "own.key"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_private(key: Path) -> None:
    """The file has mode 0600 whatever the umask, the public half is for everybody, nothing else is left."""
    before = os.umask(0)
    try:
        create_key(key)
    finally:
        os.umask(before)
    assert (mode(key), mode(Path(f"{key}.pub"))) == (0o600, 0o644)
    assert sorted(os.listdir(key.parent)) == ["own.key", "own.key.pub"]


def test_a_key_is_pem(key: Path) -> None:
    """It is PKCS #8 in PEM, which other tools read."""
    made = create_key(key)
    private = load_pem_private_key(key.read_bytes(), None)
    assert private.public_key().public_bytes_raw().hex() == made.public  # type: ignore[union-attr]


def test_a_signature(key: Path) -> None:
    """What a key signs, its public half confirms; and nothing else."""
    signing, other = create_key(key), create_key(key.with_name("other"))
    signature = signing.sign(b"head")
    assert check_signature(signing.public, signature, b"head")
    assert not check_signature(signing.public, signature, b"heae")
    assert not check_signature(other.public, signature, b"head")
    assert not check_signature(signing.public, signature[:-1], b"head")


def test_a_key_is_not_overwritten(key: Path) -> None:
    """Of two that make it the second is told, and the first one's stays."""
    first = create_key(key)
    with pytest.raises(FileExistsError):
        create_key(key)
    assert load_key(key).public == first.public
    assert sorted(os.listdir(key.parent)) == ["own.key", "own.key.pub"]


def test_loading_gives_the_same_key(key: Path) -> None:
    """It is what was made, and the public half is written again if it is lost or another's."""
    made = create_key(key)
    Path(f"{key}.pub").unlink()
    assert load_key(key).public == made.public == public_key(f"{key}.pub")


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_key_that_others_may_use(key: Path, bits: int) -> None:
    """It is refused, and the message says what to do."""
    create_key(key)
    key.chmod(bits)
    with pytest.raises(AuditKeyError, match=f"mode {bits:04o}.*chmod 600 {re.escape(str(key))}"):
        load_key(key)


def test_a_key_of_another_user(key: Path) -> None:
    """Who owns the file can replace it: only the user's own and root's will do."""
    create_key(key)
    real = os.geteuid

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: real() + 1)
        if key.stat().st_uid == 0:
            assert load_key(key)
        else:
            with pytest.raises(AuditKeyError, match="another user"):
                load_key(key)


def test_no_key(key: Path) -> None:
    """One that is not there, and a folder in its place, are told as such."""
    with pytest.raises(AuditKeyError, match="cannot be read: No such file"):
        load_key(key)
    key.mkdir()
    with pytest.raises(AuditKeyError, match="cannot be read: Is a directory"):
        load_key(key)


def test_what_is_no_key(key: Path) -> None:
    """Something else, an encrypted key, and one of another kind are refused; the content is not quoted."""
    private = ec.generate_private_key(ec.SECP256R1())
    create_key(key)
    own = load_pem_private_key(key.read_bytes(), None)
    locked = BestAvailableEncryption(b"x")
    for content, text in (
        (b"", "holds no key"),
        (b"secret words", "holds no key"),
        (key.read_bytes()[:60], "holds no key"),
        (own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked), "without a password"),
        (private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "another kind"),
    ):
        key.write_bytes(content)
        with pytest.raises(AuditKeyError, match=text) as caught:
            load_key(key)
        assert "secret" not in str(caught.value)


def test_public_keys(key: Path) -> None:
    """A file of PEM, a file of digits, and digits themselves are one key; a private key is none."""
    made = create_key(key)
    digits = key.with_name("digits")
    digits.write_text(made.public + "\n")
    assert public_key(f"{key}.pub") == public_key(digits) == public_key(made.public) == made.public
    with pytest.raises(AuditKeyError, match="no public key"):
        public_key(key)
    with pytest.raises(AuditKeyError, match="cannot be read"):
        public_key(key.with_name("absent"))


def test_a_log_makes_its_key(path: Path) -> None:
    """A new log has a key of mode 0600, and log, anchor and lock are nobody else's, too."""
    write_log(path, "a")
    assert {name: mode(path.with_name(name)) for name in os.listdir(path.parent)} == {
        "vault.audit": 0o600,
        "vault.audit.anchor": 0o600,
        "vault.audit.key": 0o600,
        "vault.audit.key.pub": 0o644,
        "vault.audit.lock": 0o600,
    }


def test_a_lost_key(path: Path) -> None:
    """Without its key a log is not appended to, and none is made for it; it can be read and verified."""
    write_log(path, "a", "b")
    key = Path(f"{path}.key")
    key.unlink()
    with pytest.raises(AuditKeyError, match=r"lost.*read and verified"):
        open_log(path)
    assert not key.exists()
    assert findings(path) == []
    assert verbs(path) == ["audit.began", "object.deleted", "object.deleted"]


def test_another_key(path: Path, key: Path) -> None:
    """With another one it is not appended to, either."""
    write_log(path, "a")
    before = path.read_bytes()
    create_key(key)
    with pytest.raises(AuditKeyError, match="another key"):
        open_log(path, key=key)
    assert path.read_bytes() == before
    assert findings(path) == []


def test_an_open_key_is_refused_by_the_log(path: Path) -> None:
    """A log whose key others may read is not opened for appending."""
    write_log(path, "a")
    Path(f"{path}.key").chmod(0o644)
    with pytest.raises(AuditKeyError, match="may be used by others"):
        open_log(path)


# ---- rotation


def test_rotation(path: Path) -> None:
    """The old key seals the entry that names the new one, as its last; the new one seals what follows."""
    with open_log(path) as log:
        old = public_key(f"{path}.key.pub")
        say(log, "a")
        new = log.rotate_key()
        say(log, "b")
    assert new != old and public_key(f"{path}.key.pub") == new == load_key(f"{path}.key").public
    said = [(entry.verb, entry.seal.key if entry.seal else "") for entry in entries(path)]
    assert said == [
        ("audit.began", old),
        ("object.deleted", old),
        ("audit.key-rotated", old),
        ("audit.key-accepted", new),
        ("object.deleted", new),
    ]
    assert entries(path)[2].parameters == {"key": new}
    assert sorted(os.listdir(path.parent)) == sorted(
        f"vault.audit{end}" for end in ("", ".anchor", ".key", ".key.pub", ".lock")
    )


def test_either_key_proves_a_rotated_log(path: Path, key: Path) -> None:
    """Who knows the first key or the last one can verify; who knows another cannot."""
    with open_log(path) as log:
        old = public_key(f"{path}.key.pub")
        new = log.rotate_key()
        last = log.rotate_key()
    for known in (old, new, last):
        assert findings(path, public_key=known) == []
    assert kinds(path, public_key=create_key(key).public) == ["key"]


def test_a_rotated_log_goes_on(path: Path) -> None:
    """The next process, and another one that had it open, seal with the new key."""
    with open_log(path) as first, open_log(path) as second:
        say(second, "a")
        new = first.rotate_key()
        (entry,) = say(second, "b")
        assert entry.seal is not None and entry.seal.key == new
    write_log(path, "c")
    assert findings(path, public_key=new) == []


@pytest.mark.parametrize("moment", ["new key", "batch", "anchor", "replaced"])
def test_a_rotation_that_is_killed(path: Path, moment: str) -> None:
    """Wherever it ends, the next one has a key to go on with, and the log is whole."""
    write_log(path, "a")
    program = f"""
import os, sys
from vaultscope.audit import AuditLog
from vaultscope.edge import audit_file
moment = {moment!r}
log = AuditLog(sys.argv[1])
die = lambda *_, **__: os._exit(9)
if moment == "new key":
    log._file._write = die
if moment == "batch":
    log._file._anchor_head = die
if moment == "anchor":
    log._file._promote = die
if moment == "replaced":
    audit_file.sync_folder = die
log.rotate_key()
"""
    done = subprocess.run([sys.executable, "-c", program, path], timeout=DEADLINE)
    assert done.returncode == 9
    write_log(path, "b")
    assert findings(path) == []
    assert verbs(path)[-1] == "object.deleted"
    assert ("audit.key-rotated" in verbs(path)) == (moment != "new key")


def test_a_forged_beginning_is_not_sealed(path: Path, tmp_path: Path) -> None:
    """A log of another key, even one that names ours as its next, is not gone on with: what we seal would
    vouch for it."""
    write_log(path, "a")
    forger = tmp_path / "forger"
    forger.mkdir()
    with open_log(forger / "vault.audit") as forged, pytest.MonkeyPatch.context() as patch:
        ours = load_key(f"{path}.key")  # of which the forger knows the public half, and names it
        patch.setattr("vaultscope.edge.audit_file.create_key", lambda *_, **__: ours)
        patch.setattr(forged._file, "_promote", lambda _: None)
        forged.rotate_key()
    lines = (forger / "vault.audit").read_bytes().splitlines(keepends=True)[:4]
    path.write_bytes(b"".join(lines))  # up to the forger's seal over the rotation
    with pytest.raises(AuditError, match="truncated or changed"):
        open_log(path)
    assert "key" in kinds(path)
    seal = read_line(lines[3][:-1])
    assert isinstance(seal, Seal)
    Path(f"{path}.anchor").write_bytes(Anchor(seal, 0, path.stat().st_size).encode())
    with pytest.raises(AuditKeyError, match="another key"):
        open_log(path)
    assert kinds(path) == ["key"]


def test_without_cryptography(path: Path) -> None:
    """A log is read without the package; what needs it says how to get it."""
    write_log(path, "a")
    program = """
import sys
sys.modules["cryptography"] = None
from vaultscope.audit import AuditLog, read_entries, verify
print([entry.verb for entry in read_entries(sys.argv[1])])
for call in (AuditLog, lambda path: list(verify(path))):
    try:
        call(sys.argv[1])
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True, timeout=DEADLINE
    )
    told = "seals of an audit trail need cryptography: pip install 'vaultscope[audit]'"
    assert done.stdout.splitlines() == ["['audit.began', 'object.deleted']", told, told]
