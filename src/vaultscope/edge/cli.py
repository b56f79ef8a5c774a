"""The door of the `vaultscope` command. The commands are in commands.py and need the extra `cli`."""

from __future__ import annotations

import sys

NEEDED = ("click", "rich")


def main() -> None:
    """Runs the command line and exits. 2 if a package of the extra `cli` is missing, after saying how to get
    it."""
    try:
        from vaultscope.edge.commands import vaultscope
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in NEEDED:
            raise
        sys.stderr.write(f"vaultscope: the command line needs {package}: pip install 'vaultscope[cli]'\n")
        sys.exit(2)
    vaultscope(prog_name="vaultscope")


if __name__ == "__main__":
    main()
