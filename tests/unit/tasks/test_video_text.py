from pathlib import Path

import numpy as np
import torch
from torch.testing import assert_close

from playhead.objectives.info_nce import info_nce
from playhead.tasks.video_text import ClipTextSample, VideoText


def task(**settings) -> VideoText:
    return VideoText(videos=Path("."), pairs=Path("egoclip.csv"), **settings)


def pair(name: str, noun: int, verb: int) -> ClipTextSample:
    nouns, verbs = np.zeros(3, dtype=bool), np.zeros(2, dtype=bool)
    nouns[noun], verbs[verb] = True, True
    frames = torch.full((2, 3, 4, 4), len(name), dtype=torch.uint8)
    return ClipTextSample(frames, f"#C C does {name}", nouns, verbs, name)


def unit_rows(seed: int, count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=generator), dim=1)


def test_anchors_come_first_then_their_neighbours():
    samples = [(pair("a", 0, 0), pair("a2", 1, 0)), (pair("b", 2, 1), pair("b2", 2, 0))]
    batch = task().collate(samples)
    assert batch.names == ("a", "b", "a2", "b2")
    assert batch.video.shape == (4, 2, 3, 4, 4)
    assert batch.nouns.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert batch.text.ids.shape[0] == 4


def test_ego_nce_and_info_nce_agree_where_no_action_is_shared():
    rows = {
        "video": unit_rows(0),
        "text": unit_rows(1),
        "nouns": torch.eye(4, dtype=torch.bool),
        "verbs": torch.eye(4, dtype=torch.bool),
    }
    ego = task().loss(rows)
    info = task(loss_name="info_nce").loss(rows)
    assert_close(ego.total, info.total)
    assert_close(info.total, info_nce(rows["video"], rows["text"], temperature=0.05))


def test_accuracy_counts_any_narration_of_the_same_action():
    video = text = torch.eye(4, 8)
    rows = {
        "video": video,
        "text": text.roll(1, 0),  # every clip is nearest to the text of its successor
        "nouns": torch.ones(4, 1, dtype=torch.bool),
        "verbs": torch.ones(4, 1, dtype=torch.bool),
    }
    assert task().loss(rows).parts["accuracy"] == 1.0
    assert task(loss_name="info_nce").loss(rows).parts["accuracy"] == 0.0
