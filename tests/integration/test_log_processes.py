"""The log under fork, multiprocessing, exit and os._exit: each record is written once, by somebody."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

DEADLINE = 120  # seconds, for a process that hangs

HEAD = """
import gc, multiprocessing, os, signal, sys, threading, warnings
from concurrent.futures import ProcessPoolExecutor
warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads: that is what we test
from vaultscope import Registry
from vaultscope.logging import *

class Lines(Sink):
    # Appends its lines to a file, each batch by one write.
    def __init__(self, path):
        self.name = self.path = path
    def write(self, lines, records):
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        assert os.write(fd, lines) == len(lines)
        os.close(fd)

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
"""


class Run:
    """A script, and the log that it leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "lines.log"

    def __call__(self, script: str, *, status: int = 0) -> list[str]:
        """What the script prints. In it LOG is a path for a log, A one for an arena."""
        text = (
            f"{HEAD}LOG, A = {str(self.log)!r}, {str(self.folder / 'a.arena')!r}\n{textwrap.dedent(script)}"
        )
        (self.folder / "script.py").write_text(text)  # a file, as multiprocessing wants it
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE
        )
        assert (done.returncode, done.stderr) == (status, "")
        return done.stdout.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]

    @property
    def messages(self) -> Counter[str]:
        return Counter(record["message"] for record in self.records)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


# ---- exit ----


def test_an_exit_drains(run: Run) -> None:
    """At the end of a program what was logged is written, also by what runs at exit, and after an error."""
    run(
        """
        import atexit
        configure(Lines(LOG))
        atexit.register(lambda: get_logger().info("at exit"))
        for i in range(1000): get_logger().info("m")
        """
    )
    assert run.messages == {"m": 1000, "at exit": 1}


@pytest.mark.parametrize(
    "end, status", [("sys.exit(3)", 3), ("raise SystemExit(4)", 4), ("signal.raise_signal(signal.SIGINT)", 5)]
)
def test_every_exit_drains(end: str, status: int, run: Run) -> None:
    """So it is however the program ends, if it ends by itself."""
    run(
        f"""
        configure(Lines(LOG))
        get_logger().info("m")
        signal.signal(signal.SIGINT, lambda *_: sys.exit(5))
        {end}
        """,
        status=status,
    )
    assert run.messages == {"m": 1}


def test_a_journal_that_nobody_holds_drains_at_exit(run: Run) -> None:
    """A journal whose last name is gone is drained at the end, too."""
    run(
        """
        def start():
            journal = Journal(Registry())
            journal.add_sink(Lines(LOG))
            return journal.get_logger("kept")
        log = start()
        gc.collect()
        log.info("m")
        """
    )
    assert run.messages == {"m": 1}


def test_threads_that_log_to_the_end(run: Run) -> None:
    """Daemons that log while the interpreter ends neither hang nor crash it; what is written is whole."""
    for _ in range(5):
        run.log.unlink(missing_ok=True)
        run(
            """
            configure(Lines(LOG))
            log = get_logger()
            def work():
                while True: log.info("m", x=[1], y="é")
            for _ in range(3): threading.Thread(target=work, daemon=True).start()
            while not os.path.exists(LOG): pass
            """
        )
        assert set(run.messages) <= {"m", "Log records dropped"}


def test_a_sink_that_hangs_at_exit(run: Run) -> None:
    """A sink that hangs does not keep the program for long; the other one gets all."""
    lines = run(
        """
        import time
        class Hangs(Sink):
            name = "hangs"
            def write(self, lines, records): threading.Event().wait()
        journal = Journal(Registry())
        journal.add_sink(Hangs()); journal.add_sink(Lines(LOG))
        journal.get_logger().info("m")
        began = time.monotonic()
        print(journal.close(0.2), time.monotonic() - began < 5)
        """
    )
    assert (lines, run.messages) == (["False True"], {"m": 1})


def test_os_exit_does_not_drain(run: Run) -> None:
    """os._exit leaves at once: a ring in memory is lost with the process, without a word."""
    run(
        """
        class Never(Lines):
            def step(self, cursor): threading.Event().wait(0.01)
        configure(Never(LOG))
        get_logger().info("m")
        os._exit(0)
        """
    )
    assert run.records == []


def test_os_exit_leaves_the_arena(run: Run) -> None:
    """In an arena's file it waits for the next one, with who logged it."""
    (pid,) = run(
        """
        journal = Journal(Registry(arena=A))
        for i in range(10): journal.get_logger().info("m", turn=i)
        print(os.getpid(), flush=True)
        os._exit(0)
        """
    )
    assert run.records == []
    run(
        """
        journal = Journal(Registry(arena=A))
        journal.add_sink(Lines(LOG))
        journal.get_logger().info("next")
        """
    )
    assert [record.get("turn") for record in run.records] == [*range(10), None]
    assert {record["pid"] for record in run.records[:10]} == {int(pid)}
    run("Journal(Registry(arena=A)).add_sink(Lines(LOG))")
    assert len(run.records) == 11


# ---- fork ----


def test_a_fork(run: Run) -> None:
    """What the parent logged before a fork is written once, by the parent; each writes its own after it, with
    its own process and thread."""
    (line,) = run(
        """
        journal = Journal(Registry())
        journal.add_sink(Lines(LOG))
        log = journal.get_logger("cas").bind(a=1)
        for i in range(100): log.info("before")
        def work():
            for i in range(100): log.info("child")
            assert journal.flush()
        pid = child(work)
        for i in range(100): log.info("parent")
        ended(pid)
        assert journal.close()
        print(os.getpid(), pid)
        """
    )
    parent, forked = map(int, line.split())
    assert run.messages == {"before": 100, "child": 100, "parent": 100}
    for record in run.records:
        assert record["pid"] == record["thread"] == (forked if record["message"] == "child" else parent)
        assert record["a"] == 1


def test_forks_while_threads_log(run: Run) -> None:
    """Children of a process whose threads log all the while, and children of those: each record once."""
    (total,) = run(
        """
        sys.setswitchinterval(1e-4)
        journal = Journal(Registry(), policy="block", block_ms=60000)
        journal.add_sink(Lines(LOG))
        log = journal.get_logger()
        stop, turns = threading.Event(), []
        def parent():
            n = 0
            while not stop.wait(1e-5): log.info("parent", turn=n); n += 1
            turns.append(n)
        threads = [threading.Thread(target=parent) for _ in range(2)]
        for thread in threads: thread.start()
        def work(levels=1):
            for i in range(50): log.info("child", turn=i)
            if levels: ended(child(lambda: work(0)))
            assert journal.close(30)
        for _ in range(5): ended(child(work))
        stop.set()
        for thread in threads: thread.join()
        assert journal.close(60)
        print(sum(turns))
        """
    )
    assert run.messages == {"child": 10 * 50, "parent": int(total)}
    turns = Counter((record["pid"], record["turn"]) for record in run.records if record["message"] == "child")
    assert set(turns.values()) == {1}


def test_a_fork_within_a_sink(run: Run) -> None:
    """A fork while a sink holds its lock, or is in the middle of a batch, does not hang the child."""
    run(
        """
        class Locked(Lines):
            lock = threading.Lock()
            def write(self, lines, records):
                with self.lock:
                    inside.set()
                    super().write(lines, records)
                    if os.getpid() == parent: go.wait()
            def after_fork(self):
                self.lock = threading.Lock()
        parent, inside, go = os.getpid(), threading.Event(), threading.Event()
        journal = Journal(Registry())
        journal.add_sink(Locked(LOG))
        log = journal.get_logger()
        log.info("parent")
        inside.wait()
        def work():
            log.info("child")
            assert journal.flush()
        ended(child(work))
        go.set()
        """
    )
    assert run.messages == {"child": 1, "parent": 1}


def test_after_a_fork_a_sink_that_raises(run: Run) -> None:
    """An after_fork() that raises does not spoil the other sinks."""
    run(
        """
        class Raises(Lines):
            def __init__(self): self.name = "raises"
            def write(self, lines, records): pass
            def after_fork(self): raise OSError
        journal = Journal(Registry())
        journal.add_sink(Raises()); journal.add_sink(Lines(LOG))
        def work():
            journal.get_logger().info("child")
            assert journal.flush()
        ended(child(work))
        """
    )
    assert run.messages == {"child": 1}


def test_a_fork_that_does_not_log(run: Run) -> None:
    """A child that execs, or leaves at once, changes nothing for the parent."""
    run(
        """
        configure(Lines(LOG))
        log = get_logger()
        for i in range(20):
            log.info("m")
            ended(child(lambda: None))
            ended(child(lambda: os.execv("/bin/true", ["true"])))
        """
    )
    assert run.messages == {"m": 20}


def test_forks_of_a_file(run: Run) -> None:
    """Over an arena's file children log into the parent's ring, and it drains them, once; when it ends first,
    a child takes its place."""
    run(
        """
        journal = Journal(Registry(arena=A))
        journal.add_sink(Lines(LOG))
        log = journal.get_logger()
        log.info("before")
        def work():
            for i in range(50): log.info("child")
        ended(*[child(work) for _ in range(10)])
        assert journal.flush()
        ready, done = os.pipe(), os.pipe()
        def last():
            os.close(done[1])
            os.write(ready[1], b"x")
            os.read(done[0], 1)  # until the parent has closed
            log.info("last")
            assert journal.flush(30) and journal.close(30)
        pid = child(last)
        os.read(ready[0], 1)
        assert journal.close()
        os.close(done[1])
        ended(pid)
        """
    )
    assert run.messages == {"before": 1, "child": 500, "last": 1}


def test_a_child_that_is_killed(run: Run) -> None:
    """What a killed child had logged into the arena's file is drained by the parent."""
    run(
        """
        journal = Journal(Registry(arena=A))
        journal.add_sink(Lines(LOG))
        log = journal.get_logger()
        def work():
            for i in range(50): log.info("child")
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(5): assert os.waitpid(child(work), 0)[1] == signal.SIGKILL
        log.info("parent")
        assert journal.close()
        """
    )
    assert run.messages == {"child": 250, "parent": 1}


# ---- multiprocessing ----


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(method: str, run: Run) -> None:
    """Processes that end by themselves have written what they logged, whatever way they were started."""
    run(
        f"""
        def work(number):
            log = get_logger()
            configure(Lines(LOG))
            for i in range(100): log.info("child", number=number)
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            processes = [context.Process(target=work, args=(i,)) for i in range(4)]
            for process in processes: process.start()
            for process in processes: process.join()
            assert [process.exitcode for process in processes] == [0] * 4
        """
    )
    assert run.messages == {"child": 400}
    assert len({record["pid"] for record in run.records}) == 4


def test_processes_that_inherit_a_journal(run: Run) -> None:
    """A forked process drains the journal that it has from its parent, at its end."""
    run(
        """
        configure(Lines(LOG))
        log = get_logger()
        def work(number):
            for i in range(100): log.info("child", number=number)
        log.info("parent")
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=work, args=(i,)) for i in range(4)]
        for process in processes: process.start()
        for process in processes: process.join()
        """
    )
    assert run.messages == {"parent": 1, "child": 400}


def test_processes_that_import_it_themselves(run: Run) -> None:
    """A forked process that is the first to import vaultscope drains at its end, too."""
    (run.folder / "late.py").write_text(
        f"{HEAD}\ndef work(path):\n    configure(Lines(path))\n    get_logger().info('child')\n"
    )
    program = f"""
import multiprocessing, sys
def work():
    assert "vaultscope" not in sys.modules
    import late
    late.work({str(run.log)!r})
context = multiprocessing.get_context("fork")
process = context.Process(target=work)
process.start()
process.join()
assert process.exitcode == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=run.folder, capture_output=True, text=True, timeout=DEADLINE
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert run.messages == {"child": 1}


def test_a_pool(run: Run) -> None:
    """The workers of an executor log into the arena's file, and the parent writes it all."""
    run(
        """
        def start():
            global log
            log = Journal(Registry(arena=A)).get_logger("worker")
        def work(number):
            log.info("m", number=number)
            return number
        if __name__ == "__main__":
            journal = Journal(Registry(arena=A))
            journal.add_sink(Lines(LOG))
            with ProcessPoolExecutor(3, multiprocessing.get_context("spawn"), start) as pool:
                assert list(pool.map(work, range(200))) == list(range(200))
            assert journal.close(30)
        """
    )
    assert sorted(record["number"] for record in run.records) == list(range(200))


def test_processes_of_an_arena_take_turns(run: Run) -> None:
    """Of several processes with sinks of the same name over one arena one drains at a time: each record is
    written once, whoever comes and goes."""
    run(
        """
        def work(number):
            journal = Journal(Registry(arena=A))
            journal.add_sink(Lines(LOG))
            log = journal.get_logger()
            for i in range(300): log.info("m", number=number, turn=i)
            journal.close(30)
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            for start in range(3):
                processes = [context.Process(target=work, args=(4 * start + i,)) for i in range(4)]
                for process in processes: process.start()
                for process in processes: process.join()
                assert [process.exitcode for process in processes] == [0] * 4
            work(-1)
        """
    )
    seen = Counter((record["number"], record["turn"]) for record in run.records)
    assert set(seen) == {(number, turn) for number in range(-1, 12) for turn in range(300)}
    assert set(seen.values()) == {1}
