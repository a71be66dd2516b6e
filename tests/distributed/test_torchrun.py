"""Under torchrun: SIGTERM, which it sends to every process of its ranks, and nodes that meet over the network."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_ranks_agree import WITHOUT_CHANCE, assert_close_runs
from toy_run import everything, launch, train_toy

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


@pytest.mark.slow
def test_two_torchruns_that_meet_at_a_port_train_what_one_rank_trains(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-id=toy", "--rdzv-backend=c10d", "--local-addr=127.0.0.1"]
    script = str(Path(__file__).parent / "torchrun_node.py")
    command = [sys.executable, "-m", "torch.distributed.run", *words, f"--rdzv-endpoint={meeting}", script]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run_dir = tmp_path / "nodes"
    nodes = [subprocess.Popen([*command, str(run_dir)], env=environment) for _ in range(2)]
    try:
        launch(train_toy, tmp_path / "alone", **WITHOUT_CHANCE)
        assert [node.wait(timeout=150) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    assert_close_runs(everything(run_dir), everything(tmp_path / "alone"))
