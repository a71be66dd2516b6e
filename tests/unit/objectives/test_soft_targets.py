import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from playhead.objectives.classification import soft_cross_entropy, soft_targets


def test_smoothed_targets_sum_to_one_and_keep_the_rest_for_the_class():
    targets = soft_targets(torch.tensor([2]), 4, 0.2)
    torch.testing.assert_close(targets, torch.tensor([[0.05, 0.05, 0.85, 0.05]]))


def test_without_smoothing_it_is_cross_entropy_and_with_it_torchs_own():
    logits, labels = torch.randn(5, 7), torch.tensor([0, 6, 3, 3, 1])
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(soft_cross_entropy(logits, soft_targets(labels, 7, smoothing)), expected)


def test_labels_outside_of_the_classes_are_refused():
    with pytest.raises(ValueError, match="labels 0 to 4 for 4 classes"):
        soft_targets(torch.tensor([0, 4]), 4)
    with pytest.raises(ValueError, match="smoothing"):
        soft_targets(torch.tensor([0]), 4, 1.0)
