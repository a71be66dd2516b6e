import pytest
import torch
from recognition_cases import case_name, find_cases
from safetensors import safe_open
from safetensors.torch import load_file

from playhead.objectives.classification import soft_cross_entropy, soft_targets
from playhead.video.erasing import Box
from playhead.video.mixing import Mix, mix_clips, mix_targets

CASES = find_cases("*mixup*.safetensors")


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_mixed_clips_targets_and_loss_are_the_recorded_ones(case, kind):
    arrays = load_file(case)
    with safe_open(case, "pt") as file:
        settings = file.metadata()
    box = None
    if kind == "cutmix":
        top, bottom, left, right = arrays["in/cutmix/bbox_yl_yh_xl_xh"].tolist()
        box = Box(top, bottom, left, right)
    mix = Mix(float(arrays[f"in/{kind}/lam"]), box)
    video = arrays["in/video"].transpose(1, 2)  # recorded as (B, C, T, H, W)
    torch.testing.assert_close(mix_clips(video, mix).transpose(1, 2), arrays[f"out/{kind}/video"], atol=1e-6, rtol=1e-6)
    targets = soft_targets(arrays["in/labels"], int(settings["num_classes"]), float(settings["label_smoothing"]))
    targets = mix_targets(targets, mix)
    torch.testing.assert_close(targets, arrays[f"out/{kind}/soft_targets"], atol=1e-6, rtol=1e-6)
    loss = soft_cross_entropy(arrays[f"in/{kind}/logits"], targets).mean()
    torch.testing.assert_close(loss, arrays[f"out/{kind}/soft_target_ce"], atol=0, rtol=1e-5)
