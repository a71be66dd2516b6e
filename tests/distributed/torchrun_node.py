"""The rank of one node of test_torchrun.py, which shards what it has and copies from node to node."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from test_ranks_agree import WITHOUT_CHANCE
from toy_run import TRAIN, train_toy

if __name__ == "__main__":
    assert (os.environ["WORLD_SIZE"], os.environ["LOCAL_WORLD_SIZE"]) == ("2", "1")
    train_toy(Path(sys.argv[1]), replace(TRAIN, parallel="hsdp"), **WITHOUT_CHANCE)
