"""The objectives against recorded losses, masks and gradients with respect to rows before normalisation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from egovlp_cases import case_name, find_cases

from playhead.objectives.action_lists import action_lists
from playhead.objectives.blockwise import blockwise_ego_nce, blockwise_info_nce
from playhead.objectives.ego_nce import action_positives, ego_nce
from playhead.objectives.info_nce import info_nce
from playhead.objectives.max_margin import adaptive_max_margin, max_margin

# name -> loss of unit rows (video, text), tags (nouns, verbs) and weights, with the settings it was recorded with
LOSSES = {
    "egonce": lambda v, t, n, b, w: ego_nce(v, t, action_positives(n, b), temperature=0.05),
    "egonce_noun": lambda v, t, n, b, w: ego_nce(v, t, action_positives(n, b, "noun"), temperature=0.05),
    "egonce_verb": lambda v, t, n, b, w: ego_nce(v, t, action_positives(n, b, "verb"), temperature=0.05),
    "egonce_t007": lambda v, t, n, b, w: ego_nce(v, t, action_positives(n, b), temperature=0.07),
    "infonce": lambda v, t, n, b, w: info_nce(v, t, temperature=0.05),
    "maxmargin": lambda v, t, n, b, w: max_margin(v, t, margin=0.2),
    "maxmargin_nofix": lambda v, t, n, b, w: max_margin(v, t, margin=0.3, keep_diagonal=True),
    "adaptive": lambda v, t, n, b, w: adaptive_max_margin(v, t, w, margin=0.4),
    "adaptive_nofix": lambda v, t, n, b, w: adaptive_max_margin(v, t, w, margin=0.2, keep_diagonal=True),
}
# the same losses in blocks of three rows, which divide no recorded batch
IN_BLOCKS = {
    "egonce": lambda v, t, n, b: blockwise_ego_nce(v, t, action_lists(n, b), block_rows=3),
    "egonce_noun": lambda v, t, n, b: blockwise_ego_nce(v, t, action_lists(n, b, "noun"), block_rows=3),
    "egonce_verb": lambda v, t, n, b: blockwise_ego_nce(v, t, action_lists(n, b, "verb"), block_rows=3),
    "egonce_t007": lambda v, t, n, b: blockwise_ego_nce(v, t, action_lists(n, b), temperature=0.07, block_rows=3),
    "infonce": lambda v, t, n, b: blockwise_info_nce(v, t, block_rows=3),
}
CASES = find_cases("**/*c_losses*.npz")
GROUPS = [pytest.param(case, group, id=f"{case_name(case)}-{group}") for case in CASES for group in ("n", "2n")]


def read_group(case, group):
    arrays = {key: torch.from_numpy(value) for key, value in np.load(case).items() if value.ndim}
    rows = len(arrays[f"{group}/sim"])
    tags = (arrays["noun"][:rows] > 0, arrays["verb"][:rows] > 0)
    return arrays["video"][:rows], arrays["text"][:rows], *tags, arrays["weight"][:rows]


@pytest.mark.parametrize(("case", "group"), GROUPS)
def test_positives_are_the_recorded_ones(case, group):
    recorded = np.load(case)
    nouns, verbs = read_group(case, group)[2:4]
    np.testing.assert_array_equal(action_positives(nouns, verbs).numpy(), recorded[f"{group}/positive_mask"])
    # The tags' recorded cosines say by themselves who shares a noun, and who a verb.
    own = np.eye(len(nouns), dtype=bool)
    for share, cosines in (("noun", "simnoun"), ("verb", "simverb")):
        expected = (recorded[f"{group}/{cosines}"] > 0) | own
        np.testing.assert_array_equal(action_positives(nouns, verbs, share).numpy(), expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("case", "group"), GROUPS)
def test_loss_and_gradients_are_the_recorded_ones(case, group, name):
    video, text, nouns, verbs, weights = read_group(case, group)
    video.requires_grad_()
    text.requires_grad_()
    loss = LOSSES[name](F.normalize(video, dim=1), F.normalize(text, dim=1), nouns, verbs, weights)
    assert_recorded(np.load(case), group, name, loss, video, text)


@pytest.mark.parametrize("name", IN_BLOCKS)
@pytest.mark.parametrize(("case", "group"), GROUPS)
def test_loss_and_gradients_in_blocks_are_the_recorded_ones(case, group, name):
    video, text, nouns, verbs, _ = read_group(case, group)
    video.requires_grad_()
    text.requires_grad_()
    loss = IN_BLOCKS[name](F.normalize(video, dim=1), F.normalize(text, dim=1), nouns, verbs).loss
    assert_recorded(np.load(case), group, name, loss, video, text)


def assert_recorded(recorded, group, name, loss, video, text):
    loss.backward()
    assert loss.item() == pytest.approx(float(recorded[f"{group}/{name}/loss"]), abs=1e-5)
    for rows, side in ((video, "video"), (text, "text")):
        np.testing.assert_allclose(rows.grad.numpy(), recorded[f"{group}/{name}/grad_{side}"], atol=1e-5, rtol=0)
