"""Whether the tests notice: every fault is put into a copy of the source, and its tests must fail.

    python tests/faults/run.py                       all faults: some minutes
    python tests/faults/run.py cosine-inverted       some of them
    python tests/faults/run.py --out faults.json --resume

A fault is caught by a test that fails. An edit that cannot be made, or leaves a module that cannot
be imported, is an error in the table; tests that take longer than their limit catch nothing. What
the named tests let pass is run past the whole fast suite.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).with_name("caught.json")
COPIED = ("src", "tests", "examples", "pyproject.toml")
LEFT_OUT = ("faults", ".pytest_cache")  # the unit test of the table fails on a fault
NEEDED = 38  # faults that the tests must catch
LIMIT = 90  # seconds for the named tests
LONGEST = 1_800  # seconds for the whole suite
INVALID = 97  # exit status of an edit that cannot be imported
RUNNING: set[subprocess.Popen[str]] = set()  # test runs, each a process group of its own

# One process for both: a module of JAX's size takes seconds to import.
RUN = f"""
import importlib, sys
try:
    import posterity
    importlib.import_module(sys.argv[1])
except BaseException as error:
    print(f"{{type(error).__name__}}: {{error}}")
    sys.exit({INVALID})
import pytest
sys.exit(pytest.main(sys.argv[2:]))
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a fault.

    Attributes:
        name: of the fault. status: ``"caught"``, ``"missed"`` or ``"error"``.
        by: the test that caught it, or what is wrong. whole: whether the whole suite was needed.
        seconds: how long it took.
    """

    name: str
    status: str
    by: str
    whole: bool
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; 0 if it holds."""
    asked = _parser().parse_args(arguments)
    chosen = _chosen(asked.names)
    earlier = _earlier(asked.out) if asked.resume and asked.out else {}
    found = {fault.name: earlier[fault.name] for fault in chosen if fault.name in earlier}
    width = max(len(fault.name) for fault in chosen)
    for outcome in found.values():
        _show(outcome, width)
    left = [fault for fault in chosen if fault.name not in found]
    began, writing, whole = time.perf_counter(), threading.Lock(), threading.Lock()

    def work(fault: Fault) -> None:
        outcome = examine(fault, None if asked.only_named_tests else whole, asked.limit)
        with writing:
            found[fault.name] = outcome
            _show(outcome, width)
            if asked.out:
                _write(asked.out, {**earlier, **found})

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
        try:
            for done in [pool.submit(work, fault) for fault in left]:
                done.result()
        except BaseException:  # Ctrl-C too: nothing is left running
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(RUNNING):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return _verdict(found, time.perf_counter() - began, whole_table=not asked.names)


def examine(fault: Fault, whole: threading.Lock | None, limit: float = LIMIT) -> Outcome:
    """Put one fault into a copy and run its tests, and those of the whole suite if need be.

    Args:
        fault: the edit. whole: held while the whole suite runs, which takes all cores; None to
            leave it out. limit: seconds for the named tests.
    """
    began = time.perf_counter()

    def outcome(status: str, by: str, *, of_all: bool = False) -> Outcome:
        return Outcome(fault.name, status, by, of_all, round(time.perf_counter() - began, 1))

    with tempfile.TemporaryDirectory(prefix="posterity-fault-") as name:
        folder = Path(name)
        wrong = _edited(folder, fault)
        if wrong:
            return outcome("error", wrong)
        named = [f"tests/{file}" for file in fault.tests]
        status, said = _tested(folder, fault, [*named, "-x"], limit)
        if status in ("caught", "error"):
            return outcome(status, said)
        if whole is None:
            return outcome("missed", said)
        with whole:
            status, said = _tested(folder, fault, ["tests", "-n", "2", "-x"], LONGEST)
        return outcome(status, said, of_all=True)


def _edited(folder: Path, fault: Fault) -> str:
    """Copy the repository's code into `folder` and make the edit; what is wrong with it, if so."""
    for part in COPIED:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns(*LEFT_OUT))
        elif source.exists():
            shutil.copy2(source, folder / part)
    path = folder / "src" / "posterity" / fault.file
    if not path.is_file():
        return f"there is no file {fault.file}"
    text = path.read_text("utf-8")
    if text.count(fault.old) != 1:
        return f"{fault.file} has the text {text.count(fault.old)} times, not once"
    path.write_text(text.replace(fault.old, fault.new), "utf-8")
    return ""


def _tested(folder: Path, fault: Fault, arguments: Sequence[str], limit: float) -> tuple[str, str]:
    """Status of a run of pytest in `folder`, and the test that failed or what else there is."""
    module = "posterity." + fault.file.removesuffix(".py").replace("/", ".")
    command = [sys.executable, "-c", RUN, module.removesuffix(".__init__"), *arguments]
    command += ["-q", "-m", "not slow", "-p", "no:cacheprovider", "--tb=no"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    RUNNING.add(process)
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "missed", f"no test failed within {limit:g} s"
    finally:
        RUNNING.discard(process)
    if process.returncode == INVALID:
        last = output.strip().splitlines()[-1:]
        return "error", f"it cannot be imported: {' '.join(last)}"
    failed = re.findall(r"^FAILED (\S+)", output, re.MULTILINE)
    if failed:
        return "caught", failed[0].removeprefix("tests/")
    broken = re.findall(r"^ERROR (\S+::\S+)", output, re.MULTILINE)  # of a fixture
    if broken:
        return "caught", broken[0].removeprefix("tests/")
    if process.returncode == 0:
        return "missed", "all tests pass"
    return "error", f"pytest ended with {process.returncode}: {' '.join(output.split()[-30:])}"


def _environment(folder: Path) -> dict[str, str]:
    """That of this process, with the copy's source first and one cache of compiled loops.

    JAX's cache is keyed by what is compiled, so that a fault cannot be served another's loop.
    """
    compiled = str(Path(tempfile.gettempdir()) / "posterity-faults-compiled")
    data = ROOT.parent / "shared" / "data"
    # Sources are few seconds old: a cache of bytecode would only be written.
    return {
        "POSTERITY_CACHE": compiled,
        "POSTERITY_DATA": str(data),
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _chosen(names: Sequence[str]) -> list[Fault]:
    by_name = {fault.name: fault for fault in FAULTS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        sys.exit(f"there is no fault {', '.join(unknown)}; there are {', '.join(by_name)}.")
    return [by_name[name] for name in names] if names else list(FAULTS)


def _earlier(out: Path) -> dict[str, Outcome]:
    """What a file of an earlier run holds; errors are tried again."""
    if not out.exists():
        return {}
    read = [Outcome(**each) for each in json.loads(out.read_text("utf-8"))]
    return {outcome.name: outcome for outcome in read if outcome.status != "error"}


def _write(out: Path, found: dict[str, Outcome]) -> None:
    text = json.dumps([dataclasses.asdict(outcome) for outcome in found.values()], indent=1)
    other = out.with_name(out.name + ".part")
    other.write_text(text + "\n", "utf-8")
    other.replace(out)


def _show(outcome: Outcome, width: int) -> None:
    by = f"{outcome.by}{' (whole suite)' if outcome.whole else ''}"
    print(f"{outcome.name:{width}}  {outcome.status:6}  {outcome.seconds:6.1f} s  {by}", flush=True)


def _verdict(found: dict[str, Outcome], seconds: float, *, whole_table: bool) -> int:
    """Say what came of it; 1 if the gate does not hold."""
    caught = {name for name, outcome in found.items() if outcome.status == "caught"}
    before = set(json.loads(KNOWN.read_text("utf-8"))) if KNOWN.exists() else set()
    wrong = [name for name, outcome in found.items() if outcome.status == "error"]
    lost = sorted((before & set(found)) - caught)
    print(f"{len(caught)} of {len(found)} faults caught in {seconds / 60:.1f} minutes.")
    missed = sorted(set(found) - caught - set(wrong))
    for title, names in (("missed", missed), ("caught before", lost), ("no faults", wrong)):
        if names:
            print(f"{title}: {', '.join(names)}")
    too_few = whole_table and len(caught) < NEEDED
    if too_few:
        print(f"At least {NEEDED} must be caught.")
    return int(bool(wrong or lost or too_few))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Do the tests notice faults in the source?")
    parser.add_argument("names", nargs="*", help="faults; all by default")
    parser.add_argument("--only-named-tests", action="store_true", help="never the whole suite")
    parser.add_argument("--out", type=Path, help="a JSON file of the outcomes, as they come")
    parser.add_argument("--resume", action="store_true", help="skip what the file of --out has")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for the named tests")
    parser.add_argument("--jobs", type=int, default=1, help="faults examined at a time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
