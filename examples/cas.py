"""A content-addressed store that tells what it does: put, get, and the metrics that a scraper would read.

Run it with `python examples/cas.py`.
"""

from __future__ import annotations

import tempfile

from vaultscope import Registry
from vaultscope.core.catalogue import Catalogue
from vaultscope.edge.cas import FileCas, ObjectNotFoundError
from vaultscope.edge.prometheus import render


def main() -> None:
    """Stores 26 letters, reads them back, and prints what was measured."""
    registry = Registry()
    catalogue = Catalogue(registry)
    with tempfile.TemporaryDirectory() as directory, FileCas(directory, catalogue) as cas:
        letters = [f"letter {i} of 26\n".encode() * i for i in range(26)]
        hashes = [cas.put(letter) for letter in letters]
        cas.put(letters[7])  # the same content: one object
        assert [cas.get(digest) for digest in hashes] == letters

        try:
            cas.get("0" * 64)
        except ObjectNotFoundError as error:
            print(f"# {error}")

        gets = catalogue.cas_get_duration
        print(f"# {len(cas)} objects; half of the gets took less than {gets.quantile(0.5) / 1000:.0f} us")

        text, _ = render(registry.snapshot())
        print(text.decode(), end="")


if __name__ == "__main__":
    main()
