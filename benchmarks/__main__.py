"""Run all benchmarks, or those named: `python -m benchmarks [decoding egoclip model_step tagging]`."""

import subprocess
import sys
from pathlib import Path

NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def main() -> int:
    names = [name for name in sys.argv[1:] if name] or list(NAMES)
    if unknown := sorted(set(names) - set(NAMES)):
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
