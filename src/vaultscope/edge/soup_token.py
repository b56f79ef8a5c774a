"""Orders of a query, and the tokens with which one goes on where another ended."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from vaultscope.core.json_codec import canonical, loads
from vaultscope.core.soup_attributes import scalar_of
from vaultscope.core.soup_query import Name, name_of
from vaultscope.errors import DeclarationError

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """What a query sorts by, then by when objects were created, then as they were put.

    name: None if it is by when they were created only.
    """

    name: Name | None
    is_backwards: bool

    @classmethod
    def of(cls, text: str) -> Order:
        """As a query is given it: "created", "-created", "name", "-name". Raises DeclarationError."""
        if not isinstance(text, str):
            raise DeclarationError(f"an order is a name, such as created or -created, not {text!r}")
        name = name_of(text.removeprefix("-"))
        is_created = name == Name("created", True)
        return cls(None if is_created else name, text.startswith("-"))

    def token(self, key: tuple[Any, ...]) -> str:
        """A key, what an object is sorted by, as text."""
        return urlsafe_b64encode(canonical([self._text, *key])).decode().rstrip("=")

    def key(self, token: str) -> tuple[Any, ...]:
        """The key that a token was made of. Raises DeclarationError if it is of another order, or none."""
        try:
            text, *key = loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            kinds: tuple[Any, ...] = (int, int) if self.name is None else ((int, float, str), int, int)
            if text == self._text and len(key) == len(kinds) and all(map(isinstance, key, kinds)):
                return tuple(map(scalar_of, key))
        except (ValueError, TypeError):  # DeclarationError, too: a number of more than 64 bits
            pass
        raise DeclarationError(f"no token of a query in this order: {token!r:.200}")

    @property
    def _text(self) -> str:
        name = "created"
        if self.name is not None:
            name = self.name.text if self.name.is_field else f"attr.{self.name.text}"
        return f"-{name}" if self.is_backwards else name
