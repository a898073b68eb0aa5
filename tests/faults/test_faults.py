"""That the table of faults fits the source. Whether they are caught, `run.py` finds out."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

from faults import FAULTS, Fault

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src" / "posterity"


def is_there(test: str) -> bool:
    """Whether there is such a test file, or such a test in it."""
    file, _, name = test.partition("::")
    path = TESTS / file
    return path.is_file() and (not name or f"def {name}(" in path.read_text("utf-8"))


def misfit(fault: Fault) -> str | None:
    """Why a fault cannot be put in, or None."""
    path = SOURCE / fault.file
    if not path.is_file():
        return f"{fault.name}: there is no {fault.file}"
    text = path.read_text("utf-8")
    if text.count(fault.old) != 1:
        return f"{fault.name}: its text is {text.count(fault.old)} times in {fault.file}"
    if fault.new == fault.old:
        return f"{fault.name}: it changes nothing"
    ast.parse(text.replace(fault.old, fault.new))
    absent = [test for test in fault.tests if not is_there(test)]
    if absent or not 1 <= len(fault.tests) <= 3:
        return f"{fault.name}: of one to three tests these are absent: {absent}"
    return None


def test_every_fault_can_be_put_in() -> None:
    assert [wrong for wrong in map(misfit, FAULTS) if wrong] == []


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len(FAULTS) >= 40
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1


def test_every_folder_has_one() -> None:
    modules = (path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")
    folders = {path.parent.relative_to(SOURCE) for path in modules}
    assert folders <= {Path(fault.file).parent for fault in FAULTS}


def test_what_was_caught_before_is_in_the_table() -> None:
    caught = json.loads((TESTS / "faults" / "caught.json").read_text("utf-8"))
    assert set(caught) <= {fault.name for fault in FAULTS}
    assert caught == sorted(set(caught))
