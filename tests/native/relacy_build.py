"""Builds and runs the models in relacy/: real sources of native/, with Relacy's atomics under them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
NATIVE = HERE.parent.parent / "native"
MODELS = ("tally", "stripe", "lists", "directory", "process", "fold", "ring", "drain", "exemplar")

# C is read as C++ here: what only C allows is let pass, and warnings are the C compiler's business.
FLAGS = ("-std=gnu++17", "-w", "-fpermissive", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-pthread")


def missing() -> str:
    """What must be installed before a model can be built; empty if nothing."""
    compiler = shutil.which("g++")
    if compiler is None:
        return "g++ is not installed: apt-get install g++"
    probe = [compiler, "-E", "-x", "c++", "-include", "relacy/relacy.hpp", "/dev/null"]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        return "Relacy is not installed: apt-get install relacy-dev"
    return ""


def command(model: str, native: Path) -> list[str]:
    """The compiler, its flags, and relacy/MODEL.cpp over the sources in `native`."""
    # Our <stdatomic.h> comes before the compiler's; VS_PORTABLE_ATOMICS turns the x86 instructions off.
    folders = (HERE / "relacy" / "include", native / "include", native / "src")
    including = [f"-I{folder}" for folder in folders]
    return ["g++", *FLAGS, "-DVS_PORTABLE_ATOMICS", *including, str(HERE / "relacy" / f"{model}.cpp")]


def build(model: str, program: Path, native: Path = NATIVE, optimise: str = "-O1") -> None:
    """Builds a model. Raises subprocess.CalledProcessError, with the compiler's words in stderr."""
    line = [*command(model, native), optimise, "-o", str(program)]
    subprocess.run(line, check=True, capture_output=True, text=True)


def sources(model: str, native: Path = NATIVE) -> set[str]:
    """Names of the files that a model is built from."""
    rule = subprocess.run([*command(model, native), "-MM"], check=True, capture_output=True, text=True).stdout
    return {Path(word).name for word in rule.split()}


def run(program: Path, random: int, bound: int) -> tuple[bool, str]:
    """Runs `random` random schedules and all with at most `bound` preemptions: (all held, the report)."""
    line = [str(program), "--random", str(random), "--bound", str(bound)]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode == 0, done.stdout
