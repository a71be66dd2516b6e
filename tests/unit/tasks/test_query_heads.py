from dataclasses import replace

import numpy as np
import pytest
import torch

from playhead.data.query_windows import Window
from playhead.errors import RecipeError
from playhead.models.point_pyramid import PointPyramid, PointPyramidConfig, Pyramid
from playhead.models.tan2d import Tan2d, Tan2dConfig, Tan2dOutput
from playhead.models.vslnet import VSLNet, VSLNetConfig, VSLNetOutput
from playhead.tasks.query_heads import PointPyramidHead, Tan2dHead, VSLNetHead
from playhead.tasks.query_samples import QueryBatch

VIDEO, TEXT = 6, 5


def window(num_rows, origin=0.0, step=1.0, seed=0):
    rows = np.random.default_rng(seed).standard_normal((num_rows, VIDEO), np.float32)
    return Window(rows, origin, num_rows * step)


def batch_of(head, windows, truths, released=False):
    longest = max(len(one.rows) for one in windows)
    video = torch.zeros(len(windows), longest, VIDEO)
    mask = torch.zeros(len(windows), longest, dtype=torch.bool)
    for row, one in enumerate(windows):
        video[row, : len(one.rows)], mask[row, : len(one.rows)] = torch.from_numpy(one.rows), True
    words = torch.randn(len(windows), 3, TEXT, generator=torch.Generator().manual_seed(1))
    return QueryBatch(
        video=video,
        video_mask=mask,
        origins=torch.tensor([one.origin for one in windows], dtype=torch.float64),
        durations=torch.tensor([one.duration for one in windows], dtype=torch.float64),
        sample_of=torch.arange(len(windows)),
        words=words,
        words_mask=torch.ones(len(windows), 3, dtype=torch.bool),
        labels=head.labels(windows, truths, longest, released=released),
        asked=(),
    )


def part_of(batch, rows):
    """The same batch with some of its windows, as another rank would have them."""
    names = ("video", "video_mask", "origins", "durations", "words", "words_mask")
    chosen = {name: getattr(batch, name)[rows] for name in names}
    labels = {name: label[rows] for name, label in batch.labels.items()}
    return replace(batch, **chosen, sample_of=torch.arange(len(rows)), labels=labels)


def vslnet(**settings):
    config = {"video_dim": VIDEO, "text_dim": TEXT, "width": 16, "heads": 2, "max_positions": 16, "kernel": 3}
    return VSLNet(VSLNetConfig(**{**config, "dropout": 0.0, **settings}))


def tan2d(num_rows=8):
    config = Tan2dConfig(
        video_dim=VIDEO, text_dim=TEXT, width=8, num_rows=num_rows, scales=(4, 2), kernels=(3, 3), paddings=(2, 0)
    )
    return Tan2d(config)


def pyramid(**settings):
    config = {"input_widths": (VIDEO,), "num_classes": 1, "max_steps": 32, "width": 16, "levels": 3, "heads": 2}
    config |= {"windows": (5,), "neck_width": 16, "head_width": 16, "text_width": TEXT, "drop_path": 0.0}
    return PointPyramid(PointPyramidConfig(**{**config, **settings}))


NETWORKS = {
    "vslnet": (VSLNetHead(max_rows=16), vslnet),
    "tan2d": (Tan2dHead(num_rows=8), tan2d),
    "pyramid": (PointPyramidHead(), pyramid),
}


def laid(head, one):
    return replace(one, rows=head.lay(one.rows))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_of_a_batch_is_that_of_its_parts_gathered(name):
    head, make = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    windows = [laid(head, window(12, seed=seed)) for seed in range(4)]
    batch = batch_of(head, windows, [(2.0, 6.0), (1.0, 3.0), None, (8.0, 11.5)])
    whole = head.encode(model, batch)
    parts = [head.encode(model, part_of(batch, [row])) for row in range(4)]
    gathered = {key: torch.cat([part[key] for part in parts]) for key in whole}
    assert all(len(rows) == 4 for rows in whole.values())
    torch.testing.assert_close(head.loss(gathered).total, head.loss(whole).total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_without_any_answer_has_a_finite_loss(name):
    head, make = NETWORKS[name]
    batch = batch_of(head, [laid(head, window(12))], [None])
    loss = head.loss(head.encode(make(), batch)).total
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", NETWORKS)
def test_candidates_are_sound_spans_within_their_window(name):
    head, make = NETWORKS[name]
    windows = [laid(head, one) for one in (window(12, origin=100.0), window(9, origin=7.0, step=2.0, seed=1))]
    with torch.no_grad():
        proposed = head.propose(make().eval(), batch_of(head, windows, [None, None]))
    for one, found in zip(windows, proposed, strict=True):
        assert len(found) > 0
        assert (found.spans[:, 0] < found.spans[:, 1]).all()
        assert (found.scores > 0).all()
        if name != "pyramid":  # whose points may point beyond
            assert found.spans.min() >= one.origin - 1e-9
            assert found.spans.max() <= one.end + 1e-9


@pytest.mark.parametrize("name", NETWORKS)
def test_features_and_models_of_other_widths_are_told_apart(name):
    head, make = NETWORKS[name]
    batch = batch_of(head, [laid(head, window(12))], [None])
    with pytest.raises(RecipeError, match=f"video features have {VIDEO + 1} columns, but the model reads {VIDEO}"):
        head.propose(make(), replace(batch, video=torch.zeros(1, batch.video.shape[1], VIDEO + 1)))
    with pytest.raises(RecipeError, match="text features have 9 columns"):
        head.encode(make(), replace(batch, words=torch.zeros(1, 3, 9)))


def test_models_that_cannot_answer_are_told():
    with pytest.raises(RecipeError, match=r"head.num_rows is 8, model.num_rows 16"):
        Tan2dHead(num_rows=8).propose(tan2d(16), batch_of(Tan2dHead(num_rows=8), [window(8)], [None]))
    with pytest.raises(RecipeError, match="20 rows and queries 3 words, but the model has 16 positions"):
        VSLNetHead().propose(vslnet(), batch_of(VSLNetHead(), [window(20)], [None]))
    with pytest.raises(RecipeError, match="reads no text"):
        PointPyramidHead().propose(pyramid(text_width=None), batch_of(PointPyramidHead(), [window(8)], [None]))
    with pytest.raises(RecipeError, match="3 classes"):
        PointPyramidHead().propose(pyramid(num_classes=3), batch_of(PointPyramidHead(), [window(8)], [None]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: VSLNetHead(max_rows=0),
        lambda: VSLNetHead(highlight_extend=-0.1),
        lambda: Tan2dHead(min_iou=1.0),
        lambda: Tan2dHead(candidates=0),
        lambda: PointPyramidHead(center_radius=0.0),
        lambda: PointPyramidHead(label_smoothing=1.0),
    ],
)
def test_settings_out_of_range_are_errors(make):
    with pytest.raises(RecipeError):
        make()


def test_vslnet_lays_long_windows_on_few_rows_and_leaves_short_ones():
    rows = np.arange(20, dtype=np.float32)[:, None]
    assert VSLNetHead(max_rows=10).lay(rows)[:, 0].tolist() == [0.5 + 2 * row for row in range(10)]
    assert len(VSLNetHead(max_rows=128).lay(rows)) == 20


def test_vslnet_learns_first_and_last_row_and_a_highlight_one_tenth_wider():
    head = VSLNetHead()
    labels = head.labels([window(20, origin=100.0), window(12)], [(103.0, 113.0), None], 20, released=False)
    assert (labels["first"].tolist(), labels["last"].tolist()) == ([3, 0], [12, 0])
    assert labels["highlight"][0].nonzero().flatten().tolist() == list(range(2, 14))
    assert not labels["highlight"][1].any()
    assert labels["has_answer"].tolist() == [True, False]


def test_only_the_released_rule_puts_a_short_answer_into_the_first_row():
    sound, released = (
        VSLNetHead().labels([window(20)], [(7.0, 7.0)], 20, released=rule)["first"].item() for rule in (False, True)
    )
    assert (sound, released) == (7, 0)


def test_vslnets_ends_do_not_count_in_windows_without_answer():
    head, model = VSLNetHead(max_rows=16), vslnet().eval()
    both = batch_of(head, [window(12), window(12, seed=1)], [(2.0, 6.0), None])
    alone = part_of(both, [0])
    ends = [head.loss(head.encode(model, batch)).parts["ends"] for batch in (both, alone)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)


def saying(model, says):
    """The network, which now says what it is given."""
    model.forward = lambda *_: says
    return model


def test_vslnets_answers_are_rows_in_seconds_of_the_clip_and_may_be_weighed_by_the_highlight():
    start, end = torch.full((1, 10), -50.0), torch.full((1, 10), -50.0)
    start[0, 2], end[0, 5] = 50.0, 50.0
    says = VSLNetOutput(start, end, torch.full((1, 10), -1.0))
    model = saying(vslnet(), says)
    batch = batch_of(VSLNetHead(), [window(10, origin=30.0, step=0.5)], [None])
    (plain,) = VSLNetHead(candidates=1).propose(model, batch)
    (weighed,) = VSLNetHead(candidates=1, highlight_in_score=True).propose(model, batch)
    assert plain.spans.tolist() == weighed.spans.tolist() == [[31.0, 33.0]]
    assert plain.scores[0] == pytest.approx(1.0)
    assert weighed.scores[0] == pytest.approx(torch.tensor(-1.0).sigmoid().item())


def test_2d_tan_lays_unit_rows_on_its_grid_and_stretches_short_windows():
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]], dtype=np.float32)
    np.testing.assert_allclose(Tan2dHead(num_rows=3).lay(rows), [[0.6, 0.8], [0, 0], [0, 1]])
    assert Tan2dHead(num_rows=6).lay(rows).shape == (6, 2)
    np.testing.assert_array_equal(Tan2dHead(num_rows=3, unit_rows=False).lay(rows), rows)


def test_2d_tan_learns_the_overlap_of_every_cell_with_the_answer():
    labels = Tan2dHead(num_rows=4).labels([window(4, 10.0), window(4)], [(11.0, 13.0), None], 4, released=False)
    assert labels["ious"][0, 1, 2] == pytest.approx(1.0)
    assert labels["ious"][0, 0, 3] == pytest.approx(0.5)
    assert labels["ious"][0, 3, 3] == 0
    assert labels["ious"][1].max() == 0


def test_2d_tans_answers_are_cells_in_seconds_of_the_clip():
    cells = torch.ones(4, 4).triu().bool()
    logits = torch.full((1, 4, 4), -9.0)
    logits[0, 1, 2] = 3.0
    model = saying(tan2d(4), Tan2dOutput(logits, cells))
    (found,) = Tan2dHead(num_rows=4, candidates=2).propose(
        model, batch_of(Tan2dHead(), [window(4, 20.0, 10.0)], [None])
    )
    assert len(found) == 2
    assert found.spans[0].tolist() == [30.0, 50.0]
    assert found.scores[0] == pytest.approx(torch.tensor(3.0).sigmoid().item())


def test_the_pyramid_learns_in_steps_that_are_the_middles_of_rows():
    labels = PointPyramidHead().labels([window(20, origin=100.0, step=0.5)], [(102.0, 104.5)], 20, released=False)
    assert labels["spans"].tolist() == [[3.5, 8.5]]  # row 4 is [102, 102.5), its middle 102.25


def test_the_pyramids_answers_are_points_and_distances_in_seconds_of_the_clip():
    logits = torch.full((1, 8, 1), -20.0)
    logits[0, 4] = 2.0
    offsets = torch.tensor([1.5, 2.5]).expand(1, 8, 2)
    says = Pyramid((logits,), (offsets,), (torch.ones(1, 8, dtype=torch.bool),), ())
    head = PointPyramidHead()
    (found,) = head.propose(
        saying(pyramid(levels=1, max_steps=8), says), batch_of(head, [window(8, origin=10.0, step=0.5)], [None])
    )
    # Point 4 is the middle of [12, 12.5); 1.5 and 2.5 steps to either side are 0.75 and 1.25 s.
    assert found.spans.tolist() == [[12.25 - 0.75, 12.25 + 1.25]]


def test_what_the_pyramid_learns_is_what_it_would_answer():
    head, one, truth = PointPyramidHead(), window(32, origin=5.0, step=0.5), (9.0, 13.0)
    span = head.labels([one], [truth], 32, released=False)["spans"][0]
    places = torch.arange(32.0)
    offsets = torch.stack([places - span[0], span[1] - places], dim=1).clamp(min=0)[None]
    inside = (offsets.amin(dim=2) > 0).float()[..., None]
    says = Pyramid((inside * 40 - 20,), (offsets,), (torch.ones(1, 32, dtype=torch.bool),), ())
    (found,) = head.propose(saying(pyramid(levels=1), says), batch_of(head, [one], [None]))
    np.testing.assert_allclose(found.spans, np.tile(truth, (len(found), 1)), atol=1e-5)
    assert len(found) == 8
