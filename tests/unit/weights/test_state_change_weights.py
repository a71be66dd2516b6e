from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.models.state_change import StateChangeConfig, StateChangeNet
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import save_bundle
from playhead.weights.keymaps import VIT
from playhead.weights.state_change_weights import initialise_from_bundle, initialise_from_frozen, initialise_from_vit

TOWER = SpaceTimeConfig(image_size=16, patch_size=8, width=12, depth=2, heads=2, num_frames=2)
TEXT = DistilBertConfig(vocab_size=40, dim=8, n_layers=1, n_heads=2, hidden_dim=8, max_positions=8)


@pytest.fixture
def pretrained() -> Frozen:
    torch.manual_seed(0)
    model = Frozen(FrozenConfig(video=TOWER, text=TEXT, shared_dim=6)).eval()
    with torch.no_grad():
        model.video.time_embedding.normal_()
    return model


def net(**sizes) -> StateChangeNet:
    torch.manual_seed(1)
    return StateChangeNet(StateChangeConfig(video=replace(TOWER, **sizes))).eval()


def test_from_a_bundle_all_but_the_heads_is_loaded(tmp_path, pretrained):
    preprocess = Preprocess(num_frames=2, image_size=16, resize=16)
    save_bundle(tmp_path / "bundle", pretrained, preprocess, "bert-base-uncased", {})
    model, fresh = net(), net()
    report = initialise_from_bundle(model, tmp_path / "bundle")
    video = torch.randn(3, 2, 3, 16, 16)
    assert_close(model.video(video), pretrained.video(video), atol=0, rtol=0)
    assert report.fresh == () and report.dropped == () and report.resized == ()
    for head in ("state_head", "key_frame_head"):
        assert_close(getattr(model, head).weight, getattr(fresh, head).weight, atol=0, rtol=0)


@pytest.mark.parametrize("inflation", ["zeros", "nearest"])
def test_new_places_in_time_begin_as_asked(pretrained, inflation):
    model = net(num_frames=4)
    report = initialise_from_frozen(model, pretrained, inflation=inflation)
    rows = pretrained.video.time_embedding[0]
    expected = {"zeros": [rows[0], rows[1], 0 * rows[0], 0 * rows[0]], "nearest": [rows[0], rows[0], rows[1], rows[1]]}
    assert_close(model.video.time_embedding[0], torch.stack(expected[inflation]), atol=0, rtol=0)
    assert report.resized == ("time_embedding",)


def test_towers_of_other_sizes_are_refused(pretrained):
    with pytest.raises(WeightsError, match="another shape"):
        initialise_from_frozen(net(patch_size=4), pretrained)
    with pytest.raises(WeightsError, match=r"are not in this pretrained video tower file: layers\.2"):
        initialise_from_frozen(net(depth=3), pretrained)
    with pytest.raises(WeightsError, match="fit no parameter"):
        initialise_from_frozen(net(depth=1), pretrained)


def test_an_image_vit_brings_all_but_time(tmp_path, pretrained):
    ours = pretrained.video.state_dict()
    inverted = VIT.inverted()
    table = {inverted.rename(key): value for key, value in ours.items() if inverted.rename(key) is not None}
    torch.save(table | {"head.weight": torch.zeros(3, 12)}, tmp_path / "vit.pth")
    model, before = net(), net().video.state_dict()
    report = initialise_from_vit(model, tmp_path / "vit.pth")
    for key, value in model.video.state_dict().items():
        is_time = "time" in key
        assert_close(value, before[key] if is_time else ours[key], atol=0, rtol=0)
        assert (key in report.fresh) == is_time
