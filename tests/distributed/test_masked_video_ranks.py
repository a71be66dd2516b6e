"""Masked pretraining on two ranks, repeats and all, learns what it learns on one."""

from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from toy_run import everything, launch

from playhead.models.videomae import VideoMAE, VideoMAEConfig, VideoMAEEncoderConfig
from playhead.tasks.masked_video import MaskedVideo
from playhead.train.config import Optim, Train
from playhead.train.loop import train
from playhead.video.transforms import Preprocess

MODEL = VideoMAEConfig(
    encoder=VideoMAEEncoderConfig(image_size=16, patch_size=4, num_frames=4, width=16, depth=1, heads=2),
    decoder_width=8,
    decoder_depth=1,
    decoder_heads=2,
)
TRAIN = Train(global_batch=4, steps=3, workers=0, log_every=1, save_every=3)


def write_video(path, seed):
    noise = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "20", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 24, 32, "yuv420p"
        for _ in range(20):
            frame = np.kron(noise.integers(0, 256, (6, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def train_masked(run_dir, videos, settings):
    torch.manual_seed(0)
    preprocess = Preprocess(num_frames=4, image_size=16, resize=24)
    task = MaskedVideo(videos=videos, preprocess=preprocess, patch_size=4, stride=2, mask_ratio=0.75, repeats=2)
    return train(VideoMAE(MODEL), task, Optim(lr=1e-3, eps=1e-6), settings, run_dir).step


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_learn_what_one_learns(tmp_path, parallel):
    (tmp_path / "videos").mkdir()
    for number in range(5):
        write_video(tmp_path / "videos" / f"{number}.mp4", number)
    assert launch(train_masked, tmp_path / "one", tmp_path / "videos", TRAIN) == [3]
    spread = replace(TRAIN, parallel=parallel)
    assert launch(train_masked, tmp_path / "two", tmp_path / "videos", spread, ranks=2) == [3, 3]
    one, two = everything(tmp_path / "one"), everything(tmp_path / "two")
    assert [line["loss"] for line in two["log"]] == pytest.approx([line["loss"] for line in one["log"]], rel=1e-5)
    assert one["tensors"].keys() == two["tensors"].keys()
    for name, tensor in one["tensors"].items():
        torch.testing.assert_close(two["tensors"][name], tensor, rtol=1e-3, atol=1e-5)
