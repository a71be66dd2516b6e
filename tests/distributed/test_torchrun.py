"""Under torchrun, which sends SIGTERM to every process of its ranks, a run ends with a checkpoint."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from playhead.train.checkpoint import latest
from playhead.train.log import read_log


def test_sigterm_to_torchrun_saves_the_step_that_was_under_way_though_workers_get_it_too(tmp_path):
    script = Path(__file__).parent / "torchrun_toy.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([*command, str(tmp_path)], env=environment) as process:
        while len(read_log(tmp_path)) < 3 and process.poll() is None:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    newest = latest(tmp_path)
    assert newest is not None
    assert newest.name == f"step_{read_log(tmp_path)[-1]['step']:08d}"
