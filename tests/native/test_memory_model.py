"""MEMORY_MODEL.md and the labels in the code say the same."""

from __future__ import annotations

import re
from pathlib import Path

# A label stands in a comment: one capital and one digit. (V1 and V2 are HdrHistogram's encodings, Z0 is in
# a range of characters.)
LABEL = re.compile(r"(?<![\w.%])[A-UW-Y][0-9](?!\w)")
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def labels_in_code(native: Path) -> set[str]:
    """Labels in the comments of the library's sources."""
    files = [*native.glob("include/vaultscope/*.h"), *native.glob("src/*.[ch]")]
    comments = (comment for file in files for comment in COMMENT.findall(file.read_text(encoding="utf-8")))
    return {label for comment in comments for label in LABEL.findall(comment)}


def labels_in_table(model: Path) -> set[str]:
    """Labels in the first column of the table of pairs."""
    rows = re.findall(r"^\| ([A-Z][0-9](?: / [A-Z][0-9])*) \|", model.read_text(encoding="utf-8"), re.M)
    return {label for row in rows for label in row.split(" / ")}


def test_every_label_of_the_code_is_in_the_table(project: Path) -> None:
    """Who finds a label in the code finds in the table what it pairs with."""
    missing = labels_in_code(project / "native") - labels_in_table(project / "native" / "MEMORY_MODEL.md")
    assert missing == set()


def test_every_label_of_the_table_is_in_the_code(project: Path) -> None:
    """No row outlives its line of code."""
    idle = labels_in_table(project / "native" / "MEMORY_MODEL.md") - labels_in_code(project / "native")
    assert idle == set()


def test_both_ends_of_a_pair_are_labelled(project: Path) -> None:
    """The table names pairs, not single operations: each label that another row names has a row."""
    text = (project / "native" / "MEMORY_MODEL.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if re.match(r"\| [A-Z][0-9]", line)]
    named = {label for row in rows for label in LABEL.findall(row[4])}
    assert rows
    assert named <= labels_in_table(project / "native" / "MEMORY_MODEL.md")
