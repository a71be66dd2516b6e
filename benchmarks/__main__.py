"""Run all benchmarks that report ratios, or those named: `python -m benchmarks [decoding egoclip ...]`.

What they report goes to `results/latest.json`: a list of {name, ratio, goal, met, spread, command}, with the unit, the
date and the machine of each. Of a benchmark that did not run, or failed, the entries stay as they were. A copy with its
date lies under `results/history`, `results/history.svg` shows them all over time, and `docs/speed.md` has them as a
table. Scripts that report no ratio run only by name.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.history import draw, with_table
from benchmarks.measure import MEASURE_FILE, machine

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PAGE = FOLDER.parent / "docs" / "speed.md"
Entry = dict[str, Any]


def scripts(*, with_ratios: bool) -> list[str]:
    """Return the names of the benchmarks: all that can be run, or those that report ratios."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("[a-z]*.py"))}
    wanted = "from benchmarks.measure import" if with_ratios else 'if __name__ == "__main__":'
    return [name for name, text in texts.items() if wanted in text and 'if __name__ == "__main__":' in text]


def run(name: str) -> list[Entry] | None:
    """Run one benchmark and return what it reported; None if it failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratios.jsonl"
        path.touch()
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        # Threads that wait for work and spin would count as processor time on a machine that does other things too.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, MEASURE_FILE: str(path)}
        if code := subprocess.run(command, check=False, env=environment).returncode:
            print(f"{name} ended with {code}" + (", killed; was memory short?" if code == -9 else ""), file=sys.stderr)
            return None
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def merged(entries: list[Entry], name: str, new: list[Entry]) -> list[Entry]:
    """Return the entries with those of benchmark `name` replaced."""
    kept = [entry for entry in entries if entry["name"].partition("/")[0] != name]
    return sorted([*kept, *new], key=lambda entry: entry["name"])


def keep(results: Path, page: Path, name: str, new: list[Entry], date: str) -> None:
    """Put what one benchmark reported into `latest.json`, its dated copy, the picture and the page."""
    latest = results / "latest.json"
    entries = merged(json.loads(latest.read_text(encoding="utf-8")) if latest.exists() else [], name, new)
    text = json.dumps(entries, indent=1) + "\n"
    (results / "history").mkdir(parents=True, exist_ok=True)
    for path in (results / "history" / f"{date}.json", latest):
        path.write_text(text, encoding="utf-8")
    (results / "history.svg").write_text(draw(results / "history"), encoding="utf-8")
    page.write_text(with_table(page.read_text(encoding="utf-8"), entries), encoding="utf-8")


def main() -> int:
    """Run what is asked for, and keep what is reported after each."""
    known = scripts(with_ratios=False)
    names = [name for name in sys.argv[1:] if name] or scripts(with_ratios=True)
    if unknown := sorted(set(names) - set(known)):
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(known)}.", file=sys.stderr)
        return 2
    began, where = datetime.now().astimezone(), machine()
    print(where)
    failed, missed = [], []
    for name in names:
        print(f"== {name}", flush=True)
        found = run(name)
        if found is None:
            failed.append(name)
        elif found:
            stamp = {"date": f"{began:%Y-%m-%d}", "machine": where}
            keep(RESULTS, PAGE, name, [entry | stamp for entry in found], f"{began:%Y-%m-%dT%H%M}")
            missed += [entry["name"] for entry in found if entry["met"] is False]
    for title, which in (("failed", failed), ("goals not met", missed)):
        if which:
            print(f"{title}: {', '.join(which)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
