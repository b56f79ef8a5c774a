"""Conditions as people type them:

    level = error and bytes > 4096 or not trace_id exists
    name like 'cas.%' and (duration_ns between 1e6 and 1e9 or tags contains slow)

`not` binds tighter than `and`, `and` tighter than `or`. A value is a number, true, false, null, or text; text
with spaces or signs in it, or that looks like a number or a key word, is put in quotes of either kind, which
are doubled to be a part of it. Key words may be in capitals.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, NoReturn

from vaultscope.core.soup_query import ORDERS, Attr, Condition, attr
from vaultscope.errors import DeclarationError

__all__ = ["parse_condition"]

_TEXT_MAX = 20_000
_DEPTH_MAX = 50
_WORDS = ("and", "or", "not", "between", "like", "contains", "exists", "missing")
_TOKEN = re.compile(
    r"""(?P<blank>\s+)
      | (?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<sign><=|>=|!=|[=<>()])
      | (?P<bare>[^\s'"=<>()!]+)""",
    re.VERBOSE,
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_CONSTANTS = {"true": True, "false": False, "null": None}


class _Token(NamedTuple):
    """kind: quoted, sign, bare, a key word in small letters, or end."""

    kind: str
    text: str
    column: int


def parse_condition(text: str) -> Condition:
    """The condition that a text says. Raises DeclarationError, which tells where it does not."""
    if not isinstance(text, str) or len(text) > _TEXT_MAX:
        raise DeclarationError(f"a condition is text of at most {_TEXT_MAX} characters")
    parser = _Parser(_tokens(text))
    condition = parser.any_of(0)
    if parser.token.kind != "end":
        parser.fail("and, or, or the end")
    return condition


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise DeclarationError(f"column {at + 1}: {text[at : at + 20]!r} is no part of a condition")
        kind, token = str(match.lastgroup), match[0]
        if kind == "quoted":
            token = token[1:-1].replace(token[0] * 2, token[0])
        elif kind == "bare" and token.lower() in _WORDS:
            kind = token.lower()
        if kind != "blank":
            found.append(_Token(kind, token, at + 1))
        at = match.end()
    return [*found, _Token("end", "", len(text) + 1)]


class _Parser:
    """Goes through the tokens: a method for each rule."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = iter(tokens)
        self.token = next(self._tokens)

    def fail(self, wanted: str) -> NoReturn:
        """Says what should have been here."""
        found = f"{self.token.text!r:.50}" if self.token.kind != "end" else "the end"
        raise DeclarationError(f"column {self.token.column}: {wanted} should be here, not {found}")

    def _take(self) -> _Token:
        taken = self.token
        self.token = next(self._tokens, taken)
        return taken

    def _took(self, kind: str, text: str | None = None) -> bool:
        if self.token.kind == kind and (text is None or self.token.text == text):
            self._take()
            return True
        return False

    def any_of(self, depth: int) -> Condition:
        """Conditions with `or` between them."""
        if depth > _DEPTH_MAX:
            raise DeclarationError(f"column {self.token.column}: nested more than {_DEPTH_MAX} deep")
        condition = self._all_of(depth)
        while self._took("or"):
            condition = condition | self._all_of(depth)
        return condition

    def _all_of(self, depth: int) -> Condition:
        condition = self._one(depth)
        while self._took("and"):
            condition = condition & self._one(depth)
        return condition

    def _one(self, depth: int) -> Condition:
        is_negated = False
        while self._took("not"):
            is_negated = not is_negated
        if self._took("sign", "("):
            condition = self.any_of(depth + 1)
            if not self._took("sign", ")"):
                self.fail("a closing bracket")
        else:
            condition = self._test()
        return ~condition if is_negated else condition

    def _test(self) -> Condition:
        if self.token.kind not in ("bare", "quoted"):
            self.fail("the name of an attribute")
        column = self.token.column
        try:
            return self._test_of(attr(self._take().text))
        except DeclarationError as error:
            if str(error).startswith("column"):
                raise
            raise DeclarationError(f"column {column}: {error}") from None

    def _test_of(self, name: Attr) -> Condition:
        taken = self._take()
        if taken.kind == "sign" and taken.text in ORDERS:
            return name.compare(taken.text, self._value())
        if taken.kind == "between":
            low = self._value()
            if not self._took("and"):
                self.fail("and")
            return name.between(low, self._value())
        if taken.kind == "like":
            return name.like(self._text())
        if taken.kind == "contains":
            return name.contains(self._value())
        if taken.kind == "exists":
            return name.exists()
        if taken.kind == "missing":
            return name.missing()
        self.token = taken
        return self.fail("a comparison, between, like, contains, exists or missing")

    def _text(self) -> str:
        if self.token.kind not in ("bare", "quoted"):
            self.fail("a pattern")
        return self._take().text

    def _value(self) -> Any:
        if self.token.kind == "quoted":
            return self._take().text
        if self.token.kind != "bare":
            self.fail("a value")
        text = self._take().text
        if text.lower() in _CONSTANTS:
            return _CONSTANTS[text.lower()]
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text
