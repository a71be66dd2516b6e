"""One rank of test_egovlp_distributed.py: two linear towers, rows gathered, EgoNCE; writes loss and gradients."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize

from playhead.objectives.ego_nce import action_positives, ego_nce
from playhead.train.config import Train
from playhead.train.parallel import gather_rows, setup, spread, teardown, whole


class Towers(nn.Module):
    def __init__(self, case):
        super().__init__()
        self.t, self.v = (nn.Linear(*reversed(case[f"sd/{name}.weight"].shape)) for name in "tv")
        self.load_state_dict({name[3:]: torch.from_numpy(case[name]) for name in case.files if name.startswith("sd/")})

    def blocks(self):
        return [self.t, self.v]


def encode(model, batch):
    text, video = (
        normalize(tower(rows), dim=-1) for tower, rows in ((model.t, batch["text"]), (model.v, batch["video"]))
    )
    return {"text": text, "video": video, "noun": batch["noun"], "verb": batch["verb"]}


def loss_and_gradients(case, world, parallel):
    model, share = Towers(case), len(case["in_text"]) // world.size
    step = spread(model, Train(global_batch=len(case["in_text"]), steps=1, parallel=parallel), world)
    mine = slice(world.rank * share, (world.rank + 1) * share)
    batch = {name: torch.from_numpy(case[key][mine]) for name, key in (("text", "in_text"), ("video", "in_video"))}
    batch |= {name: torch.from_numpy(case[name][mine] > 0) for name in ("noun", "verb")}
    rows = gather_rows(step(encode, batch))
    loss = ego_nce(rows["video"], rows["text"], action_positives(rows["noun"], rows["verb"]))
    loss.backward()
    gradients = {name: whole(p.grad).tolist() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": float(loss.detach()), "grad": gradients}


if __name__ == "__main__":
    case, folder = np.load(sys.argv[1]), Path(sys.argv[2])
    world = setup()
    found = {parallel: loss_and_gradients(case, world, parallel) for parallel in ("ddp", "fsdp")}
    (folder / f"rank{world.rank}.json").write_text(json.dumps(found))
    teardown()
