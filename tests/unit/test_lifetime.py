"""Living objects: renewed in the child of a fork, ended with their process, whichever way it ends."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from vaultscope.core.lifetime import Living

SCRIPT = """
import multiprocessing, os, sys
from vaultscope.core.lifetime import Living

class Thing:
    def __init__(self, name): self.name = name
    def end(self): print("end", self.name, flush=True)
    def renew(self): self.name += "'"

living = Living(Thing.end, Thing.renew, forked=lambda: print("forked", flush=True))
thing = Thing("a")
living.add(thing)

def work(): thing.name += "!"

if __name__ == "__main__":
    how = sys.argv[1]
    if how == "os":
        if os.fork() == 0:
            sys.exit()
        os.wait()
    else:
        child = multiprocessing.get_context(how).Process(target=work)
        child.start()
        child.join()
    print("parent", flush=True)
"""


class Thing:
    """What can be held weakly."""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("os", ["forked", "end a'", "parent", "end a"]),
        ("fork", ["forked", "end a'!", "parent", "end a"]),
        ("spawn", ["end a!", "parent", "end a"]),
    ],
)
def test_children(how: str, said: list[str], tmp_path: object) -> None:
    """A child ends what it has, once it is done; what it was forked with is renewed before."""
    script = f"{tmp_path}/script.py"
    with open(script, "w", encoding="utf-8") as file:
        file.write(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, how], capture_output=True, text=True, check=False, timeout=60
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert list(dict.fromkeys(lines)) == said


def test_it_holds_nothing() -> None:
    """Who is living is nobody's but his owner's."""
    living: Living[Thing] = Living(id, id)
    thing = Thing()
    living.add(thing)
    gone = weakref.ref(thing)
    assert list(living) == [thing]
    del thing
    gc.collect()
    assert gone() is None and list(living) == []
