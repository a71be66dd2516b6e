"""A rank of test_torchrun.py: a toy run that would last for hours."""

import sys
from dataclasses import replace
from pathlib import Path

from toy_run import OPTIM, TRAIN, train_toy

if __name__ == "__main__":
    settings = replace(TRAIN, steps=10**6, workers=1, save_every=10**6, evaluate_every=10**6)
    result = train_toy(Path(sys.argv[1]), settings, optim=replace(OPTIM, schedule="constant"))
    sys.exit(0 if result.interrupted else 1)
