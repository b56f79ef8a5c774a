"""fork, spawn and forkserver: a child has its own copy, its own locks, and counts on; the parent does not
notice."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

DEADLINE = 120  # seconds, for a child that hangs

HEAD = """
import json, multiprocessing, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads: that is what we test
import numpy as np
from vaultscope import *

def in_child(work):
    # What work() returns in a child of a fork; the child does not run our exit handlers.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as out:
                json.dump(work(), out)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as source:
        text = source.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(text)
"""


def run(script: str) -> list[str]:
    """What a script prints, line by line, in a process that may fork."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_child_counts_on() -> None:
    """The child starts from the parent's totals and counts on for itself; the parent's stay what they
    were."""
    assert run(
        """
        r = Registry(clock_ns=lambda: 5)
        c, g, h, d = r.counter("c"), r.gauge("g"), r.histogram("h"), r.hdr_histogram("d")
        f = r.counter("f", labels=("x",))
        def write():
            c.inc(5); g.inc(5); h.observe(5); d.record(5); f.labels("1").inc(5)
        def totals():
            s = r.snapshot()
            return [s.value("c"), s.value("g"), s["h"].series().sum, s["d"].series().sum, s.value("f", x="1")]
        write()
        def work():
            write(); f.labels("2").inc()
            r.counter("new").inc()
            threads = [threading.Thread(target=write) for _ in range(10)]
            [t.start() for t in threads]; [t.join() for t in threads]
            return totals() + [len(r.snapshot()["f"]), "new" in r.snapshot()]
        print(in_child(work)); print(totals(), len(r.snapshot()["f"]), "new" in r.snapshot())
        """
    ) == ["[60, 60.0, 60.0, 60.0, 60, 2, True]", "[5, 5.0, 5.0, 5.0, 5] 1 False"]


def test_a_child_of_a_busy_parent() -> None:
    """While threads of the parent observe and take snapshots, each child's snapshot comes, is whole and in
    agreement, counts on exactly, and the parent's totals are exact at the end."""
    assert run(
        """
        sys.setswitchinterval(1e-5)
        r = Registry(); h = r.histogram("h"); d = r.hdr_histogram("d"); c = r.counter("c", labels=("x",))
        r.gauge("g", callback=lambda: 1.0); r.add_collector(lambda: r.gauge("k").set(2))
        stop = threading.Event(); turns = []
        def write(k):
            n = 0
            while not stop.is_set():
                h.observe(1.0); d.record(1); c.labels(str(k)).inc(); n += 1
            turns.append(n)
        def look():
            while not stop.is_set(): r.snapshot()
        def declare():
            while not stop.is_set(): r.counter("z"); r.unregister("z")
        works = [(write, 0), (write, 1), (write, 2), (look,), (look,), (declare,)]
        threads = [threading.Thread(target=f, args=a) for f, *a in works]
        [t.start() for t in threads]
        def work():
            def read():
                s = r.snapshot(); h_, d_ = s["h"].series(), s["d"].series()
                whole = h_.count == h_.sum == sum(h_.counts) and d_.count == d_.sum == d_.hdr.count
                return whole, [h_.count, d_.count], s.native.arena()["unsettled"]
            whole, before, unsettled = read()
            h.observe(1.0); d.record(1); r.counter("mine").inc(7)
            again, after, _ = read()
            return (whole and again and unsettled == 0 and after == [n + 1 for n in before]
                    and r.snapshot().value("mine") == 7)
        print({in_child(work) for _ in range(40)})
        stop.set(); [t.join() for t in threads]
        s = r.snapshot()
        print(s["h"].series().count == s["d"].series().count == sum(turns) == sum(x.value for x in s["c"]),
              "mine" in s)
        """
    ) == ["{True}", "True False"]


def test_a_child_of_a_parent_in_native_code() -> None:
    """Threads that record buffers without the GIL are cut by the fork in mid-write: the child's readings
    come at once and agree; at most the observation under way in each thread is missing from a count."""
    assert run(
        """
        r = Registry(); h = r.histogram("h"); d = r.hdr_histogram("d")
        ones = np.ones(100_000); stop = threading.Event()
        def write():
            while not stop.is_set(): h.observe_many(ones); d.observe_many(ones)
        threads = [threading.Thread(target=write) for _ in range(3)]
        [t.start() for t in threads]
        def work():
            s = r.snapshot(); h_, d_ = s["h"].series(), s["d"].series()
            fine = (s.native.arena()["unsettled"] == 0
                    and h_.count == sum(h_.counts) and d_.count == d_.hdr.count
                    and 0 <= h_.sum - h_.count <= 3 and 0 <= d_.sum - d_.count <= 3)
            before = h_.count
            h.observe_many(ones)
            return fine and r.snapshot()["h"].series().count == before + 100_000
        print({in_child(work) for _ in range(40)})
        stop.set(); [t.join() for t in threads]
        s = r.snapshot()["h"].series(); print(s.count == s.sum)
        """
    ) == ["{True}", "True"]


def test_children_of_children() -> None:
    """A child forks, and its child: each goes on from where its parent stood."""
    assert run(
        """
        c = Registry().counter("c")
        def down(n):
            c.inc()
            return [c.value] + (in_child(lambda: down(n - 1)) if n else []) + [c.value]
        print(down(3))
        """
    ) == ["[1, 2, 3, 4, 4, 3, 2, 1]"]


def test_a_fork_in_a_collector() -> None:
    """A collector that forks holds the registry's locks: the child can take snapshots and declare all the
    same."""
    assert run(
        """
        r = Registry(); answers = []
        def collector():
            if not answers:
                answers.append(None)
                answers.append(in_child(lambda: [len(r.snapshot()), r.counter("c").value, len(r.snapshot())]))
        r.add_collector(collector); r.gauge("g")
        print(len(r.snapshot()), answers[1])
        """
    ) == ["1 [1, 0, 2]"]


def test_the_default_registry_in_a_child() -> None:
    """A child that is forked while another thread makes the default registry makes its own, and does not
    wait."""
    assert run(
        """
        import vaultscope.core.registry as registry
        registry._default_lock.acquire()  # as that thread would
        def work():
            c = Counter("c"); c.inc()
            return default_registry().snapshot().value("c")
        print(in_child(work), registry._default)
        """
    ) == ["1 None"]


def test_stripes_of_lost_threads_are_free() -> None:
    """The threads that a child has not do not hold its stripes: generations of forks do not run out of
    them."""
    out = run(
        """
        r = Registry(); c = r.counter("c"); gate = threading.Event(); ready = threading.Barrier(31)
        def work(): c.inc(); ready.wait(); gate.wait()
        threads = [threading.Thread(target=work) for _ in range(30)]
        [t.start() for t in threads]; ready.wait(); c.inc()
        held = lambda: r.snapshot().native.arena()["stripes_held"]
        print(held(), in_child(lambda: [held(), c.value]))
        gate.set(); [t.join() for t in threads]
        """
    )
    assert out == ["31 [1, 31]"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    """Workers of every start method count in a registry of their own; HdrCounts and totals travel home and
    add up."""
    script = tmp_path / "workers.py"
    script.write_text(
        HEAD
        + textwrap.dedent(
            f"""
            COUNTER = Registry().counter("c")

            def work(n):
                latency = Registry().hdr_histogram("l")
                for value in range(n): latency.record(value); COUNTER.inc()
                return latency.snapshot()

            if __name__ == "__main__":
                context = multiprocessing.get_context({method!r})
                with context.Pool(2) as pool: results = pool.map(work, [100] * 8)
                total = HdrCounts()
                for counts in results: total.merge(counts)
                print(total.count, total.max, COUNTER.value)
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout.strip()) == (0, "800 99 0"), done.stderr
