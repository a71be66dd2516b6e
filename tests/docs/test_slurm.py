"""The Slurm script, run with stand-ins for Slurm and torchrun that write down what they are told."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

SCRIPT = Path(__file__).parents[2] / "docs" / "slurm" / "train.sbatch"

STAND_INS = {
    "scontrol": 'echo "scontrol $*" >> "$LOG"; [ "$1" = show ] && printf "node7\\nnode8\\n"; true',
    "scancel": 'echo "scancel $*" >> "$LOG"; kill -TERM "$(cat "$LOG.torchrun")"',
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    # A run that takes long and ends by SIGTERM as torchrun does, or one that ends as it is told to.
    "torchrun": (
        'printf "%s\\n" "$@" > "$LOG.words"; [ -n "$CODE" ] && exit "$CODE"\n'
        "trap 'kill $!; sleep 0.3; exit 1' TERM\n"
        'sleep 60 & echo $$ > "$LOG.torchrun"; wait'
    ),
}


@pytest.fixture
def slurm(tmp_path):
    """Give a function that starts the script, and the file of what Slurm was told."""
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    slurm = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_ID": "11", "SLURM_NNODES": "2"}
    environment = os.environ | slurm | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}

    def start(code=""):
        words = ["toy", "--run-dir", "a folder"]
        return subprocess.Popen(["bash", str(SCRIPT), *words], env=environment | {"CODE": code})

    return start, log


def test_it_starts_one_torchrun_per_node_that_meet_at_the_first(slurm):
    start, log = slurm
    assert start("0").wait(timeout=30) == 0
    given = get_args_parser().parse_args(Path(f"{log}.words").read_text().splitlines())
    assert (given.nnodes, given.nproc_per_node, given.rdzv_backend) == ("2", "gpu", "c10d")
    assert (given.rdzv_endpoint, given.rdzv_id) == ("node7:29400", "11.0")
    assert (given.module, given.training_script) == (True, "playhead.cli")
    assert given.training_script_args == ["train", "toy", "--run-dir", "a folder"]


def test_a_run_that_fails_is_not_begun_again(slurm):
    start, log = slurm
    assert start("2").wait(timeout=30) == 2
    assert "requeue" not in log.read_text()


def test_before_the_time_is_over_the_steps_are_told_and_the_job_goes_back_into_the_queue(slurm):
    start, log = slurm
    with start() as job:
        while not Path(f"{log}.torchrun").exists() or not Path(f"{log}.torchrun").read_text():
            time.sleep(0.05)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=30) == 1
    assert log.read_text().splitlines()[-2:] == ["scancel --signal=TERM 11", "scontrol requeue 11"]
