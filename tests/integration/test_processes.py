"""A file arena under fork, multiprocessing, os._exit, kill -9 and exec: what was counted stays, once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from vaultscope import ArenaReader

DEADLINE = 120  # seconds, for a process that hangs

HEAD = """
import gc, multiprocessing, os, signal, subprocess, sys, threading, warnings
from concurrent.futures import ProcessPoolExecutor
warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads: that is what we test
from vaultscope import *

def child(work):
    # The pid of a child of a fork that does work() and goes without a farewell.
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    return pid

def ended(*pids):
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids)

def run_threads(n, work):
    threads = [threading.Thread(target=work) for _ in range(n)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


@pytest.fixture
def arena(tmp_path: Path) -> str:
    return str(tmp_path / "a.arena")


def run(arena: str, script: str, *, tmp_path: Path | None = None) -> list[str]:
    """What a script prints, line by line; `A` in it is the arena's path. With tmp_path it is a file there, as
    multiprocessing wants it."""
    text = HEAD + f"A = {arena!r}\n" + textwrap.dedent(script)
    program = ["-c", text]
    if tmp_path is not None:
        (tmp_path / "script.py").write_text(text)
        program = [str(tmp_path / "script.py")]
    done = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# ---- fork ----


def test_forks_while_threads_write(arena: str) -> None:
    """Four threads write all the while; twenty children write with threads of their own, and one of them
    with children. Totals are exact, whoever reads them."""
    lines = run(
        arena,
        """
        sys.setswitchinterval(1e-4)
        r = Registry(arena=A); c = r.counter("c"); h = r.histogram("h"); d = r.hdr_histogram("d")
        f = r.counter("f", labels=("who",)); s = r.gauge("s", mode="sum")
        stop = threading.Event(); turns = []
        def write(who):
            c.inc(); h.observe(1.0); d.record(1); f.labels(who).inc()
        def parent():
            n = 0
            while not stop.is_set(): write("parent"); n += 1
            turns.append(n)
        threads = [threading.Thread(target=parent) for _ in range(4)]
        for thread in threads: thread.start()
        def work():
            s.set(1)
            run_threads(3, lambda: [write("child") for _ in range(50)])
            r.snapshot()
        def work_of_the_last():
            work()
            ended(child(work))
        ended(*[child(work) for _ in range(19)], child(work_of_the_last))
        stop.set()
        for thread in threads: thread.join()
        total = sum(turns) + 21 * 150
        snapshot = r.snapshot(); h, d = snapshot["h"].series(), snapshot["d"].series()
        print([x == total for x in (snapshot.value("c"), h.count, h.sum, sum(h.counts), d.count, d.sum)])
        print(snapshot.value("f", who="parent") == sum(turns), snapshot.value("f", who="child"))
        print(snapshot.value("s"), snapshot.native.arena()["unsettled"], len(r.processes()), total)
        """,
    )
    assert lines[:2] == [str([True] * 6), "True 3150"]
    rest, _, total = lines[2].rpartition(" ")
    assert rest == "0.0 0 1"
    snapshot = ArenaReader(arena).snapshot()
    assert (snapshot.value("c"), snapshot["h"].series().sum) == (int(total), float(total))


def test_a_child_has_gauges_of_its_own(arena: str) -> None:
    """What the parent wrote to a gauge of each process is not the child's."""
    assert run(
        arena,
        """
        r = Registry(arena=A); g = r.gauge("g", mode="sum"); g.set(5)
        own = r.gauge("own", mode="all"); own.set(1)
        reader, writer = os.pipe()
        def work():
            before = g.value
            g.set(2)
            print(before, r.snapshot().value("g"), len(r.snapshot()["own"]), flush=True)
        ended(child(work))
        print(g.value, r.snapshot().value("g"))
        """,
    ) == ["0.0 7.0 1", "5.0 5.0"]


def test_workers_that_nobody_scrapes(arena: str) -> None:
    """Three hundred workers that come and go, more than there are places, without a snapshot in between: the
    last has its place and a stripe like the first, and nothing is lost."""
    assert run(
        arena,
        """
        r = Registry(arena=A); c = r.counter("c"); g = r.gauge("g", mode="all")
        for _ in range(300): ended(child(lambda: (c.inc(), g.set(1))))
        def last():
            c.inc(); g.set(7)
            me = [p for p in r.processes() if p.is_self]
            print(len(me), me[0].stripes, r.snapshot().value("g", pid=str(os.getpid())), flush=True)
        ended(child(last))
        arena = r.snapshot().native.arena()
        print(c.value, arena["processes"], arena["processes_refused"], arena["stripes_held"])
        """,
    ) == ["1 1 7.0", "301 1 0 0"]


def test_a_fork_while_a_thread_opens_arenas(arena: str) -> None:
    """A child that is forked while a thread opens arenas, or one that was there, can open some itself."""
    assert run(
        arena,
        """
        Registry(arena=A).counter("c").inc()
        stop = threading.Event()
        def open_arenas():
            while not stop.is_set():
                for path in (A, "/dev/null"):
                    try: ArenaReader(path)
                    except ArenaError: pass
        threads = [threading.Thread(target=open_arenas) for _ in range(2)]
        for thread in threads: thread.start()
        def work():
            Registry(arena=A).counter("c").inc()
            Registry().counter("c").inc()
        for _ in range(60): ended(child(work))
        stop.set()
        for thread in threads: thread.join()
        print(ArenaReader(A).snapshot().value("c"))
        """,
    ) == ["61"]


def test_threads_that_open_one_arena(arena: str) -> None:
    """Threads that open the same file at once are one process in it."""
    assert run(
        arena,
        """
        sys.setswitchinterval(1e-6)
        ready = threading.Barrier(8)
        def work():
            ready.wait()
            Registry(arena=A).counter("c").inc()
        run_threads(8, work)
        r = Registry(arena=A)
        print(len(r.processes()), r.counter("c").value)
        """,
    ) == ["1 8"]


def test_the_default_registry_in_children(arena: str) -> None:
    """The default registry of a file is the children's too, whether it was made before the fork or is made
    after."""
    assert run(
        arena,
        """
        os.environ["VAULTSCOPE_ARENA"] = A
        work = lambda: Counter("c").inc()
        ended(child(work)); Counter("c").inc(10); ended(child(work))
        print(Counter("c").value, default_registry().arena == A)
        """,
    ) == ["12 True"]


# ---- the end of a process ----


def test_killed(arena: str) -> None:
    """Children are killed amid their work, each after it had reported some operations through a pipe: all
    that was reported is there, at most the one under way beside it, and the histograms are whole."""
    assert run(
        arena,
        """
        r = Registry(arena=A); c = r.counter("c", labels=("who",)); g = r.gauge("g", mode="all")
        h = r.histogram("h", labels=("who",)); d = r.hdr_histogram("d", labels=("who",))
        def watch(i):
            reader, writer = os.pipe()
            def work():
                g.set(1)
                who = str(i); count, fixed, hdr = c.labels(who), h.labels(who), d.labels(who)
                while True:
                    count.inc(); fixed.observe(1.0); hdr.record(1)
                    os.write(writer, b".")
            pid = child(work)
            os.close(writer)
            reported = 0
            while reported < 200 + i: reported += len(os.read(reader, 64))
            os.kill(pid, signal.SIGKILL)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL
            while more := len(os.read(reader, 4096)): reported += more
            return reported
        reported = [watch(i) for i in range(15)]
        snapshot = r.snapshot()
        for i, least in enumerate(reported):
            x, y = snapshot["h"].series(who=str(i)), snapshot["d"].series(who=str(i))
            counts = (snapshot.value("c", who=str(i)), x.count, y.count)
            assert all(count in (least, least + 1) for count in counts), (least, counts)
            assert x.count == sum(x.counts) and 0 <= x.sum - x.count <= 1 and y.count == y.hdr.count
        arena = snapshot.native.arena()
        print(arena["unsettled"], len(snapshot["g"]), len(r.processes()), arena["stripes_held"])
        """,
    ) == ["0 0 1 0"]


@pytest.mark.parametrize(
    "end", ["os._exit(0)", "sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()", "1 / 0"]
)
def test_ends(arena: str, end: str) -> None:
    """However a process ends, what it counted is there when it is gone, and its place is free."""
    script = f"""
        from vaultscope import *
        import os, resource, signal, sys
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        r = Registry(arena={arena!r})
        r.counter("c").inc(); r.histogram("h").observe(1); r.gauge("g", mode="max").set(9)
        {end}
    """
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            check=False,
            timeout=DEADLINE,
            stderr=subprocess.DEVNULL,
        )
    reader = ArenaReader(arena)
    snapshot = reader.snapshot()
    assert (snapshot.value("c"), snapshot["h"].series().count, snapshot.value("g")) == (2, 2, 0.0)
    assert (reader.processes(), snapshot.native.arena()["stripes_held"]) == ((), 0)


# ---- multiprocessing ----

WORKERS = """
METHOD = sys.argv[1] if len(sys.argv) > 1 else {method!r}

def work(n):
    r = Registry(arena=A)
    c = r.counter("c"); h = r.histogram("h"); d = r.hdr_histogram("d", labels=("x",)).labels("1")
    for i in range(n): c.inc(); h.observe(1.0); d.record(i)
    return n
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(arena: str, method: str, tmp_path: Path) -> None:
    """Workers of every start method share what they open by name: a Pool's, a ProcessPoolExecutor's, plain
    Processes. Once they are gone they are in no list."""
    assert run(
        arena,
        WORKERS.format(method=method)
        + textwrap.dedent(
            """
            if __name__ == "__main__":
                r = Registry(arena=A); r.counter("c").inc()
                context = multiprocessing.get_context(METHOD)
                with context.Pool(2) as pool:
                    print(sum(pool.map(work, [100] * 6)))
                    pool.close(); pool.join()
                with ProcessPoolExecutor(2, mp_context=context) as pool:
                    print(sum(pool.map(work, [100] * 3)))
                processes = [context.Process(target=work, args=(100,)) for _ in range(2)]
                for process in processes: process.start()
                for process in processes: process.join()
                s = r.snapshot(); d = s["d"].series(x="1")
                print(s.value("c"), s["h"].series().sum, d.count, d.quantile(1), len(r.processes()))
            """
        ),
        tmp_path=tmp_path,
    ) == ["600", "300", "1101 1100.0 1100 99 1"]


def test_inherited_handles(arena: str, tmp_path: Path) -> None:
    """Workers that are forked use the handles of their parent, as a server that loads its application first
    does."""
    assert run(
        arena,
        """
        r = Registry(arena=A); c = r.counter("c"); f = r.counter("f", labels=("x",)); f.labels("1").inc()
        def work(n):
            c.inc(); f.labels("1").inc(); f.labels(str(n)).inc()
            return c.value > 0
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(3) as pool:
                print(all(pool.map(work, range(2, 60))))
                pool.close(); pool.join()
            print(c.value, f.labels("1").value, len(r.snapshot()["f"]))
        """,
        tmp_path=tmp_path,
    ) == ["True", "58 59 59"]


# ---- re-entrancy ----


def test_everything_at_once(arena: str) -> None:
    """Threads, a signal handler, the garbage collector and finalizers write to one metric while children are
    forked that do the same: totals are exact."""
    assert run(
        arena,
        """
        r = Registry(arena=A); c = r.counter("c"); h = r.histogram("h"); f = r.counter("f", labels=("x",))
        mine = []  # who wrote; list.append is one step, for threads and handlers alike
        def write():
            mine.append(os.getpid())
            c.inc(); h.observe(1.0); f.labels("1").inc()
        class Last:
            def __init__(self): self.me = self
            def __del__(self): write()
        def turn():
            for _ in range(200):
                write(); Last()
                h.observe_many([1.0]); c.inc(); f.labels("1").inc(); mine.append(os.getpid())
        def busy():
            gc.callbacks.append(lambda phase, info: write())
            gc.set_threshold(50)
            signal.signal(signal.SIGALRM, lambda number, frame: write())
            signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
            run_threads(3, turn)
        def finish():
            signal.setitimer(signal.ITIMER_REAL, 0)
            gc.callbacks.clear(); gc.collect()
        reader, writer = os.pipe()
        def work():
            gc.callbacks.clear()
            busy(); finish()
            os.write(writer, mine.count(os.getpid()).to_bytes(8, "little"))
        busy()
        pids = []
        for _ in range(6):
            turn(); pids.append(child(work))
        finish()
        ended(*pids)
        theirs = [int.from_bytes(os.read(reader, 8), "little") for _ in pids]
        total = mine.count(os.getpid()) + sum(theirs); s = r.snapshot(); x = s["h"].series()
        print([n - total for n in (s.value("c"), x.count, x.sum, s.value("f", x="1"))], total > 10_000)
        """,
    ) == ["[0, 0, 0.0, 0] True"]


# ---- exec ----


def test_a_child_that_executes(arena: str) -> None:
    """A child of subprocess, with preexec_fn and without, leaves nothing in the arena once it has ended."""
    assert run(
        arena,
        """
        r = Registry(arena=A); c = r.counter("c"); g = r.gauge("g", mode="all"); g.set(1)
        for before in (None, lambda: (c.inc(), g.set(2))):
            with subprocess.Popen(["cat"], stdin=subprocess.PIPE, preexec_fn=before) as process:
                pass
            print([p.is_self for p in r.processes()], len(r.snapshot()["g"]), c.value)
        print(r.snapshot().native.arena()["stripes_held"])
        """,
    ) == ["[True] 1 0", "[True] 1 1", "0"]


def test_a_process_that_executes_another_program(arena: str) -> None:
    """What a process counted before it executed another program stays; its old place is not that of the new
    program, which may share the arena anew, and its old gauges go."""
    script = f"""
        import os, sys
        from vaultscope import *
        r = Registry(arena={arena!r}); c = r.counter("c"); g = r.gauge("g", mode="sum")
        c.inc(); g.inc()
        turns = int(sys.argv[1])
        if turns: os.execv(sys.executable, [sys.executable, "-c", os.environ["SCRIPT"], str(turns - 1)])
        print(c.value, r.snapshot().value("g"), [p.is_self for p in r.processes()])
        print(r.snapshot().native.arena()["stripes_held"])
    """
    script = textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", script, "3"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, "SCRIPT": script},
    )
    assert (done.stdout, done.stderr) == ("4 1.0 [True]\n1\n", "")


def test_descriptors_are_not_inherited(arena: str) -> None:
    """A program that a process executes gets no descriptor of the arena."""
    lines = run(
        arena,
        """
        r = Registry(arena=A); ArenaReader(A)
        subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False)
        """,
    )
    assert len(lines) > 2
    assert [line for line in lines if "a.arena" in line] == []
