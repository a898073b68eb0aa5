"""Figures of the source: sizes, circles of imports, questions of class. No timings.

python benchmarks/house.py                  this checkout
python benchmarks/house.py ../other/src     another one
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from pathlib import Path

NOUNS = "Prior|Draws|Target|Likelihood|Density|Spooled|Remembered|Mixture|Gaussian|FullRank"
KINDS = "|ProgramModel|Categorical|Bernoulli"


def main(source: Path) -> None:
    root = source / "posterity"
    files = {path: path.read_text("utf-8") for path in sorted(root.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in files.items()}
    lines = [text.count("\n") for text in files.values()]
    functions = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    told = re.compile(rf"isinstance\(.*({NOUNS}{KINDS})")
    asked = sum(bool(told.search(line)) for text in files.values() for line in text.splitlines())
    imports = {name(path, source): imported(tree, source) for path, tree in trees.items()}
    print(f"files {len(files)}, lines {sum(lines):,}")
    print(f"files: median {statistics.median(lines):.0f} lines, p90 {p90(lines)}")
    print(f"functions: {len(functions):,}, median {statistics.median(functions):.0f}, ", end="")
    print(f"p90 {p90(functions)} lines with their docstrings")
    print(f"circles of module-level imports: {len(circles(imports))}")
    print(f"isinstance on nouns: {asked}")


def p90(values: list[int]) -> int:
    return sorted(values)[int(0.9 * len(values))]


def name(path: Path, source: Path) -> str:
    return ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.Module, source: Path) -> set[str]:
    """Modules that one imports at its top, those for type checkers included."""
    found: set[str] = set()
    top = [*tree.body]
    for node in top:
        if isinstance(node, ast.If):
            top.extend(node.body)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("posterity."):
            base = source / str(node.module).replace(".", "/")
            for alias in node.names:
                inner = (base / f"{alias.name}.py").exists() or (base / alias.name).is_dir()
                found.add(f"{node.module}.{alias.name}" if inner else str(node.module))
    return found


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected parts of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in imports.get(node, ()):
            if other not in imports:
                continue
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = set(stack[stack.index(node) :])
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(part)

    for node in imports:
        if node not in index:
            visit(node)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "src")
