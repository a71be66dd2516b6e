from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from playhead.errors import RecipeError
from playhead.objectives.info_nce import info_nce
from playhead.tasks.video_text import ClipTextSample, VideoText
from playhead.video.transforms import Augment, Preprocess, augment, cut_view


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


class Pixels(torch.nn.Module):
    """An encoder that shows what it is given."""

    def encode_video(self, video: torch.Tensor) -> torch.Tensor:
        return video.flatten(1)

    def encode_text(self, text) -> torch.Tensor:
        return torch.zeros(len(text.ids), 1)


def test_clips_varied_on_the_device_are_those_varied_by_workers():
    settings = Augment(scale=(0.3, 1.0), brightness=0.5)
    wide, high = (torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8) for size in ((20, 30), (28, 18)))
    by_workers, cut = [], []
    for seed, frames in enumerate((wide, high, wide)):
        shown = augment(frames[None], [seed], settings, 8)[0]
        by_workers.append((replace(pair("a", 0, 0), frames=shown),))
        box, view = cut_view(frames, seed, settings)
        cut.append((replace(pair("a", 0, 0), frames=box, view=view),))
    own = task(preprocess=Preprocess(num_frames=2, image_size=8))
    expected = own.encode(Pixels(), own.collate(by_workers))["video"]
    batch = own.collate(cut)
    assert batch.video.shape[-1] < 30 and len(batch.views) == 3  # only what was cut travels
    assert torch.equal(own.encode(Pixels(), batch)["video"], expected)
    parts = [own.encode(Pixels(), part)["video"] for part in own.split(batch, 2)]
    assert torch.equal(torch.cat(parts), expected)


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


def shared_tags(seed: int, count: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(count, 4, generator=generator) < 0.4 for name in ("nouns", "verbs")}


@pytest.mark.parametrize("settings", [{}, {"positives": "verb"}, {"loss_name": "info_nce"}])
def test_the_form_of_the_loss_changes_neither_it_nor_its_gradient_nor_the_accuracy(settings):
    count = 30
    found = {}
    for form in ("dense", "blockwise"):
        video, text = unit_rows(0, count).requires_grad_(), unit_rows(1, count).requires_grad_()
        loss = task(loss_form=form, **settings).loss({"video": video, "text": text, **shared_tags(2, count)})
        loss.total.backward()
        found[form] = (loss.total.detach(), video.grad, text.grad, loss.parts)
    assert found["blockwise"][3].keys() == found["dense"][3].keys()
    assert 0 < found["dense"][3]["accuracy"] < 1
    assert_close(found["blockwise"], found["dense"], rtol=1e-5, atol=1e-6)


def test_above_1024_rows_the_loss_comes_in_blocks_unless_asked_otherwise():
    def matrices(form, count):
        """Say whether autograd records an operation on the loss, or only its one function."""
        rows = {"video": unit_rows(0, count).requires_grad_(), "text": unit_rows(1, count), **shared_tags(2, count)}
        return "Blockwise" not in task(loss_form=form).loss(rows).total.grad_fn.name()

    assert [matrices("auto", count) for count in (1024, 1025)] == [True, False]
    assert (matrices("dense", 1025), matrices("blockwise", 4), matrices("blockwise_bf16", 4)) == (True, False, False)


@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_parts_of_a_batch_hold_its_rows_in_their_order(size):
    whole = task().collate([(pair("a", 0, 0), pair("a2", 1, 0)), (pair("bb", 2, 1), pair("bb2", 2, 0))])
    parts = task().split(whole, size)
    assert [len(part.names) for part in parts] == {1: [1] * 4, 3: [3, 1], 4: [4], 9: [4]}[size]
    assert sum((part.names for part in parts), ()) == whole.names
    for read in (lambda b: b.video, lambda b: b.text.ids, lambda b: b.text.mask, lambda b: b.nouns, lambda b: b.verbs):
        assert torch.equal(torch.cat([read(part) for part in parts]), read(whole))


def test_a_temperature_too_low_for_blocks_is_refused_with_the_way_out():
    with pytest.raises(RecipeError, match=r"temperature 0\.002 is too low .* set loss_form='dense'"):
        task(temperature=0.002)
    assert task(temperature=0.002, loss_form="dense").temperature == 0.002
