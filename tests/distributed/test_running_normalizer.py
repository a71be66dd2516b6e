"""ActionFormer's running number of positives is that of the global batch, the same on every rank."""

import numpy as np
import torch
from toy_run import launch

from playhead.data.feature_files import TimeBase
from playhead.data.segment_crops import Crop
from playhead.data.segments import SegmentClip
from playhead.models.point_pyramid import PointPyramid, PointPyramidConfig
from playhead.tasks.actionformer_head import RUNNING_COUNT, ActionFormerHead
from playhead.tasks.localization_samples import LocalizationSample, Piece, Place, collate_pieces
from playhead.train.parallel import gather_rows, setup, teardown

HEAD = ActionFormerHead(crop=Crop(max_rows=16), normalizer="running")
SHARES = {0: slice(0, 1), 1: slice(1, 3)}  # unequal on purpose
CLASSES = ("wash", "dry")


def make_model():
    torch.manual_seed(0)
    sizes = {"input_widths": (4,), "num_classes": 2, "max_steps": 16, "levels": 2, "heads": 1, "windows": (0,)}
    widths = {"width": 8, "neck_width": 8, "head_width": 8, "stem_blocks": 1, "drop_path": 0.0}
    model = PointPyramid(PointPyramidConfig(**sizes, **widths))
    model.register_buffer(RUNNING_COUNT, torch.tensor(20.0))
    return model


def make_samples():
    draws = np.random.default_rng(0)
    samples = []
    for number in range(3):
        rows = draws.normal(size=(12, 4)).astype(np.float32)
        spans = np.array([[1.0 + number, 4.5 + number], [6.0, 9.0]], dtype=np.float32)
        targets = {"spans": spans, "labels": np.array([0, 1]), "present": np.ones(2, dtype=bool)}
        piece = Piece(rows, np.ones(12, dtype=bool), Place(TimeBase(fps=1.0, frames=1, stride=1), 12), targets)
        clip = SegmentClip(f"c{number}", "v", 0.0, 12.0, (), "train")
        samples.append(LocalizationSample(clip, 12.0, (piece,), CLASSES))
    return samples


def loss_and_count(samples):
    model = make_model()
    loss = HEAD.loss(gather_rows(HEAD.encode(model, collate_pieces(samples))))
    return loss.total.item(), float(model.get_buffer(RUNNING_COUNT))


def on_two_ranks():
    world = setup()
    found = loss_and_count(make_samples()[SHARES[world.rank]])
    teardown()
    return found


def test_two_ranks_divide_by_what_one_process_divides_by():
    alone = torch.tensor(loss_and_count(make_samples()))
    assert alone[1] < 20  # it has moved
    for found in launch(on_two_ranks, ranks=2):
        torch.testing.assert_close(torch.tensor(found), alone)
