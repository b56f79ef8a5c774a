"""Weakens every memory order of native/, one at a time, and asks the models in relacy/ to notice.

    python tests/native/mutate_orders.py            every site: half an hour
    python tests/native/mutate_orders.py R2 O1      sites whose line or file contains one of these words

Each acquire and each release, where it is called and where atomic.h defines it, becomes relaxed in a copy of
native/. A checker must then fail, or EQUIVALENT must say why none can. An argument that a checker refutes, or
that fits no site, is an error too. Exit status 0: every site is accounted for.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import relacy_build

RANDOM, BOUND = 30_000, 2

# (file, a part of the line, why relaxed is as good there)
HANDLERS = (
    "orders the compiler for this thread's own signal handlers, which Relacy lacks; to others it is the same"
)
KILLS = "a dead process's stores are seen in program order, which Relacy does not show"
EQUIVALENT = (
    (
        "tally.h",
        "&half->begun,",
        "T1: T2's release, which follows, carries it to readers. Its own release " + HANDLERS,
    ),
    (
        "tally.h",
        "/* T4",
        "T4: orders the compiler for whoever mends after a fork or a kill, which Relacy lacks",
    ),
    ("stripe.c", "O3:", "O3: " + HANDLERS),
    ("counter.h", "vs_store_release(slot,", "the showing of the stripe: " + HANDLERS),
    ("histogram.h", "vs_store_release(slot,", "the showing of the stripe: " + HANDLERS),
    ("hdr.h", "vs_store_release(slot,", "the showing of the stripe: " + HANDLERS),
    ("hdr.c", "vs_store_release(slot,", "the showing of the stripe: " + HANDLERS),
    (
        "counter.c",
        "vs_shared_add_double_release",
        "one word, and nothing else hangs on it: a histogram's sum needs the release",
    ),
    (
        "tally.c",
        "vs_load_acquire(vs_archive_range(tally",
        "F6 of the range of an archived tally: it only widens, and each count in it is acquired itself",
    ),
    (
        "tally.c",
        "end = vs_load_acquire(&half->begun) != 0",
        "F6 of an archived tally without a range: it says where to look; each count is acquired itself",
    ),
    (
        "tally.c",
        "vs_sum_add(&g.sum_double, vs_double_of(vs_load_acquire",
        "F6, not modelled: sums are exact there, and what was rounded off is 0. As for the sum itself",
    ),
    (
        "exemplar.c",
        "!vs_cas_acquire(&slot->version",
        "E3, not modelled: of two threads' stores to one word Relacy keeps the order in which they were made",
    ),
    ("arena.c", "], NULL);", "A1 on closing: there is nothing behind NULL to be seen"),
    (
        "process.c",
        "uint64_t who = vs_load_acquire(&entry->who); /* P2 */",
        "P2 in a survey: vs_process_is_dead, which follows, acquires the same word",
    ),
    (
        "process.c",
        "== VS_PROCESS_LIVE) { /* P4 */",
        "P4 in a survey: nothing that P3 publishes is read after it, and the gauges are P2's",
    ),
    ("pump.c", "vs_store_release(&words->", "for who reads them after a kill: " + KILLS),
    ("drain.c", "vs_store_release(&words->name", "for who finds it after a kill: " + KILLS),
    (
        "drain.c",
        "vs_store_release(&words->taken",
        "for who finds it after a kill; to a writer K3 tells it: " + KILLS,
    ),
    ("log.c", "W1", "W1, not modelled: one pointer, as A1"),
    ("log.c", "W2", "W2, not modelled: one pointer, as A2"),
    ("ring.c", "L1: release", "L1, not modelled: one word, under the file's lock"),
    ("ring.c", "L2: acquire", "L2, not modelled: one word"),
    (
        "drain.c",
        "K6",
        "K6, not modelled: nothing of the ring hangs on it, but the caller's own looking into the sink",
    ),
    ("drain.c", "K7", "K7, not modelled: as K6"),
)

ORDERED = re.compile(
    r"\bvs_(?:load_acquire|store_release|add_release|and_release|cas_acquire|cas_weak_release"
    r"|owned_add_release|owned_add_double_release|shared_add_double_release|or_acq_rel)(?=\()"
    r"|\bmemory_order_(?:acquire|release|acq_rel)\b"
)
DEFINITION = re.compile(r"#define +(vs_\w+)|static inline \w+ (vs_\w+)")
# What the weakened calls are called, where atomic.h has no such name: its own text, one order weaker.
TWINS = ("vs_cas_acquire", "vs_cas_weak_release", "vs_owned_add_release", "vs_owned_add_double_release")
TWINS += ("vs_shared_add_double_release", "vs_and_release")
# An operation with both orders loses one at a time.
TWIN_OF_BOTH = "vs_or_acq_rel"


def weaker(name: str) -> list[str]:
    """What an operation, or an order, may become: one order weaker."""
    if name.endswith("_acq_rel"):
        return [name.replace("acq_rel", "acquire"), name.replace("acq_rel", "release")]
    return [relaxed(name)]


def relaxed(text: str) -> str:
    return re.sub(r"_(acquire|release)\b", "_relaxed", text)


@dataclass(frozen=True)
class Site:
    """One order in one place: `name` at `column` of a line."""

    file: Path  # below native/
    number: int
    column: int
    name: str
    weak: str  # what it becomes
    line: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.name} -> {self.weak}"

    def has(self, words: list[str]) -> bool:
        return any(word in self.line or word in str(self) for word in words)

    @property
    def argument(self) -> str:
        """Why it may be relaxed; empty if it may not."""
        fitting = [why for file, part, why in EQUIVALENT if self.file.name == file and part in self.line]
        return fitting[0] if fitting else ""


def idle_arguments(every: list[Site]) -> list[str]:
    """Entries of EQUIVALENT that fit no site any more."""
    return [
        f"{file}: {part}"
        for file, part, _ in EQUIVALENT
        if not any(site.file.name == file and part in site.line for site in every)
    ]


def sites(native: Path) -> Iterator[Site]:
    """Every order in the sources that is stronger than relaxed."""
    for path in sorted([*native.glob("include/vaultscope/*.h"), *native.glob("src/*.[ch]")]):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = re.sub(r"/\*.*?(\*/|$)", lambda comment: " " * len(comment.group()), line)
            defined = DEFINITION.match(code)
            for match in ORDERED.finditer(code):
                if defined is None or match.group() not in defined.groups():
                    for weak in weaker(match.group()):
                        place = (path.relative_to(native), number, match.start())
                        yield Site(*place, match.group(), weak, line.strip())


def copied_sites(folder: Path) -> list[Site]:
    """Copies native/ to the folder for `verdicts`: one state, whoever edits meanwhile. Returns its sites."""
    shutil.copytree(relacy_build.NATIVE, folder / "native")
    return list(sites(folder / "native"))


def definition(atomic: str, name: str) -> str:
    """The text of an operation in atomic.h: a macro, or an inline function with its body."""
    found = re.search(rf"^#define {name}\(.*?[^\\]$|^static inline \w+ {name}\(.*?^}}$", atomic, re.M | re.S)
    assert found, f"atomic.h defines no {name}"
    return found.group()


def mutate(native: Path, site: Site) -> None:
    """Weakens one site in a copy of native/."""
    atomic = native / "include" / "vaultscope" / "atomic.h"
    text = atomic.read_text(encoding="utf-8")
    twins = [relaxed(definition(text, name)) for name in TWINS]
    both = definition(text, TWIN_OF_BOTH)
    twins += [both.replace("acq_rel", order) for order in ("acquire", "release")]
    path = native / site.file
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    line = lines[site.number - 1]
    assert line.startswith(site.name, site.column)
    lines[site.number - 1] = line[: site.column] + site.weak + line[site.column + len(site.name) :]
    path.write_text("".join(lines), encoding="utf-8")
    text = atomic.read_text(encoding="utf-8")  # perhaps the file just written
    end = text.rindex("#endif")
    atomic.write_text(text[:end] + "\n".join(twins) + "\n" + text[end:], encoding="utf-8")


def caught(site: Site, readers: dict[str, set[str]], folder: Path) -> str:
    """Weakens a site and returns the first complaint of a model that contains it; empty: none."""
    native = folder / "mutant"
    shutil.rmtree(native, ignore_errors=True)
    shutil.copytree(folder / "native", native)
    mutate(native, site)
    for model, files in readers.items():
        if site.file.name in files:
            # To build takes most of the time, unless the model goes on to its end.
            optimise = "-O1" if site.argument else "-O0"
            relacy_build.build(model, folder / model, native, optimise)
            held, report = relacy_build.run(folder / model, RANDOM, BOUND)
            if not held:
                # A suite's verdict; without one the model itself broke down.
                verdict_lines = [line for line in report.splitlines() if " schedules: " in line]
                complaints = [line for line in verdict_lines if not line.endswith("SUCCESS")]
                assert complaints, f"{site}: {model} broke down:\n{report}"
                return f"{model}: {complaints[0]}"
    return ""


def verdicts(
    chosen: list[Site], folder: Path, models: tuple[str, ...] = relacy_build.MODELS
) -> Iterator[tuple[Site, bool, str]]:
    """For each of the copied sites that are chosen: whether the models account for it, and how."""
    readers = {model: relacy_build.sources(model, folder / "native") for model in models}
    for site in chosen:
        complaint = caught(site, readers, folder)
        if site.argument:
            how = f"REFUTED by {complaint}" if complaint else f"equivalent. {site.argument}"
            yield site, not complaint, how
        else:
            yield site, bool(complaint), f"caught. {complaint}" if complaint else "NOT CAUGHT"


def main(words: list[str]) -> int:
    """Prints a line for each site; the number of those that are not accounted for."""
    needed = relacy_build.missing()
    if needed:
        print(needed, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = copied_sites(folder)
        idle = idle_arguments(every)
        for entry in idle:
            print(f"FAIL  no such site: {entry}")
        chosen = [site for site in every if not words or site.has(words)]
        failures = len(idle)
        for site, good, how in verdicts(chosen, folder):
            failures += not good
            print(f"{'ok  ' if good else 'FAIL'}  {site}  {how}", flush=True)
    print(f"{len(chosen)} sites, {failures} not accounted for")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
