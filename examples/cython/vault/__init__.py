"""A content-addressed store in memory whose hot loop runs without the GIL, counters included."""

# First: it loads libvaultscope.so, which the extension is linked to. A process has one copy, wherever it
# lies, so the extension needs no run path, and the package works in any environment.
import vaultscope as vaultscope
from vault._store import Store as Store
