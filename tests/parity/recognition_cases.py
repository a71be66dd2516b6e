"""Finds recorded arrays of action recognition: in the folder named by PLAYHEAD_GOLDEN, or else in tests/golden."""

import json
import os
from pathlib import Path
from typing import Any

GOLDEN = Path(os.environ.get("PLAYHEAD_GOLDEN") or Path(__file__).parents[1] / "golden")


def find_cases(pattern: str) -> list[Path]:
    return sorted(GOLDEN.rglob(pattern))


def case_name(path: Path) -> str:
    return path.relative_to(GOLDEN).as_posix()


def read_cases(pattern: str, key: str | None = None) -> list[tuple[str, Any]]:
    """Return the entries of all files of this name, each with a name of its own."""
    found = []
    for path in find_cases(pattern):
        entries = json.loads(path.read_text())
        entries = entries if key is None else entries.get(key, [])
        pairs = entries.items() if isinstance(entries, dict) else enumerate(entries)
        found += [(f"{case_name(path)}:{name}", entry) for name, entry in pairs]
    return found
