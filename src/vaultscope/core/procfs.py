"""What Linux says of a process in /proc/PID, as numbers. See proc(5).

Every function raises OSError when the file is not there or may not be read, and ValueError when it does not
say what proc(5) promises (cut short, say, because the process is going away).
"""

from __future__ import annotations

import math
import os
from typing import NamedTuple

STAT_BYTES_MAX = 4096  # a stat line has some 52 numbers and a name of at most 64 bytes


class ProcessStat(NamedTuple):
    """One reading of /proc/PID/stat, in ticks and pages as it stands there."""

    cpu_ticks: int  # user and system time
    start_ticks: int  # since boot
    virtual_bytes: int
    resident_pages: int


def parse_stat(line: bytes) -> ProcessStat:
    """Reads the line of /proc/PID/stat.

    The second field is the program's name in parentheses, and a program may call itself anything: `a b) R 1
    (`. All fields after it are numbers or a letter, so the last closing parenthesis of the line is the
    name's.
    """
    _, parenthesis, rest = line.rpartition(b")")
    fields = rest.split()  # the first one is field 3 of proc(5)
    if not parenthesis or len(fields) < 22:
        raise ValueError("a stat line that is cut short")
    return ProcessStat(
        cpu_ticks=int(fields[11]) + int(fields[12]),
        start_ticks=int(fields[19]),
        virtual_bytes=int(fields[20]),
        resident_pages=int(fields[21]),
    )


def read_stat(directory: str) -> ProcessStat:
    """One open, one read, one close. `directory`: /proc/PID or /proc/self."""
    file = os.open(directory + "/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return parse_stat(os.read(file, STAT_BYTES_MAX))
    finally:
        os.close(file)


def count_descriptors(directory: str) -> int:
    """Open file descriptors, without the one that the listing itself takes when a process lists its own."""
    listed = len(os.listdir(directory + "/fd"))
    return listed - 1 if os.path.basename(directory) == "self" else listed


def read_descriptor_limit(directory: str) -> float:
    """The soft limit on open file descriptors; infinity where it is unlimited."""
    with open(directory + "/limits", "rb") as limits:
        for line in limits:
            if line.startswith(b"Max open files"):
                soft = line.split()[3]
                return math.inf if soft == b"unlimited" else float(soft)
    raise ValueError("no limit on open files is stated")


def read_boot_time(proc: str) -> int:
    """When the machine was booted, in seconds since the epoch."""
    with open(proc + "/stat", "rb") as stat:
        for line in stat:
            if line.startswith(b"btime "):
                return int(line.split()[1])
    raise ValueError("no boot time is stated")
