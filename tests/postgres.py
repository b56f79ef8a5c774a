"""A PostgreSQL of the tests' own: nobody else's, without a port, gone when they are."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

PATIENCE = 60.0  # seconds for it to start, and to stop


def program(name: str) -> str:
    """Debian puts what is not for users beside the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not here: apt-get install postgresql")
    return path


class PostgresServer:
    """A server in a folder of its own, reached through a socket there. It orders text as no program would,
    by the rules of a language, if its build can."""

    def __init__(self) -> None:
        self._program = program("postgres")
        # PostgreSQL refuses root, and pytest's folders are the user's alone.
        self._as: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="vaultscope-pg-"))
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        arguments = [
            "-A",
            "trust",
            "-U",
            "vault",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
            self._data,
        ]
        icu = ["--locale-provider=icu", "--icu-locale=en-US"]
        if not self._initdb(*arguments, *icu):
            assert self._initdb(*arguments), self.log.read_text()
        self.start()

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _initdb(self, *arguments: str) -> bool:
        made = subprocess.run(
            [program("initdb"), *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE, check=False, **self._as,
        )  # fmt: skip
        self.log.write_text(made.stdout + made.stderr)
        return made.returncode == 0

    @property
    def conninfo(self) -> str:
        """Of its only database."""
        return f"host={self.folder} user=vault dbname=postgres"

    @property
    def url(self) -> str:
        """The same, as users write it."""
        return f"postgresql:///postgres?host={self.folder}&user=vault"

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "16MB",
            "deadlock_timeout": "100ms",
            "max_connections": "60",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-D", self._data, *(f"--{name}={value}" for name, value in settings.items())],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask("SELECT 1")
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: politely to those who are connected with SIGINT, as a failing machine with SIGQUIT."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None

    def remove(self) -> None:
        """Ends it for good."""
        self.stop()
        shutil.rmtree(self.folder)

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What it answers, to somebody who is no soup."""
        with psycopg.connect(self.conninfo, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    @staticmethod
    def new_schema() -> str:
        """A name that no other test has."""
        return f"soup_{uuid4().hex[:12]}"
