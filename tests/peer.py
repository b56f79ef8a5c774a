"""Another process that does, line by line, what a test tells it, and answers."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
from typing import Any

DEADLINE = 60.0  # seconds for one answer; a peer that takes longer is killed, and the test fails

_LOOP = """
import json, sys
names = {}
exec("import gc, os, sys, threading\\nfrom vaultscope import *", names)
for line in sys.stdin:
    code = json.loads(line)
    try:
        try:
            answer = {"value": repr(eval(compile(code, "<told>", "eval"), names))}
        except SyntaxError:
            exec(compile(code, "<told>", "exec"), names)
            answer = {"value": "None"}
    except Exception as error:
        answer = {"error": type(error).__name__ + ": " + str(error)}
    print(json.dumps(answer), flush=True)
"""


class PeerError(Exception):
    """What was told raised: the type and the message of the error."""


class Peer:
    """A process with a namespace of its own, in which the public names of vaultscope are.

        with Peer() as peer:
            peer("counter = Registry(arena='path').counter('c')")
            peer("counter.inc()")
            assert peer("counter.value") == 1

    setup: what to tell it first.
    environment: variables beside ours.
    """

    def __init__(self, setup: str = "", **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.pid = self._process.pid
        if setup:
            self(setup)

    def __call__(self, code: str) -> Any:
        """The value of an expression: a literal as such, anything else as its repr. None for a statement."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        guard = threading.Timer(DEADLINE, self._process.kill)
        guard.start()
        try:
            self._process.stdin.write(json.dumps(code) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            guard.cancel()
        assert line, f"the peer is gone: {code}"
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        try:
            return ast.literal_eval(answer["value"])
        except (SyntaxError, ValueError):
            return answer["value"]

    def kill(self) -> None:
        """SIGKILL, and its pid is free once more when this returns."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
