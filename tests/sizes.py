"""Fail when a function of the package is over 60 lines or a file over 500: the walls of the house style."""

import ast
import sys
from pathlib import Path

FUNCTION_WALL, FILE_WALL = 60, 500


def too_long(source: Path) -> list[str]:
    """Return one line per function or file of the tree that is over its wall."""
    found = []
    for path in sorted(source.rglob("*.py")):
        text = path.read_text()
        if (lines := text.count("\n")) > FILE_WALL:
            found.append(f"{path}: {lines} lines, the wall is {FILE_WALL}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_WALL:
                    found.append(f"{path}:{node.lineno}: {node.name} has {lines} lines, the wall is {FUNCTION_WALL}")
    return found


if __name__ == "__main__":
    complaints = too_long(Path(__file__).parent.parent / "src")
    sys.exit("\n".join(complaints) if complaints else 0)
