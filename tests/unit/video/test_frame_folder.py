import av
import numpy as np
import pytest
import torch
from made_videos import picture, write_video

from playhead.errors import DecodeError
from playhead.video.folder import FrameFolder


def write_image(path, number, size=(32, 24)):
    """Write a png of scene `number`: lossless, so that pixels can be compared."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def folder(tmp_path):
    for number in range(8, 13):  # 9 before 10: by number, not by letter
        write_image(tmp_path / f"frame_{number}.png", number)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_images_are_shown_in_the_order_of_their_numbers(folder):
    clip = FrameFolder(folder, 5.0).frames_at([0.0, 0.2, 0.4, 0.6, 0.8])
    for place, number in enumerate(range(8, 13)):
        np.testing.assert_array_equal(clip.frames[place].permute(1, 2, 0).numpy(), picture(number, 32, 24))
    assert clip.times.tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def test_an_image_is_on_screen_until_the_next(folder):
    assert FrameFolder(folder, 5.0).frames_at([0.39, 0.4, 0.41]).times.tolist() == pytest.approx([0.2, 0.4, 0.4])


def test_info_counts_images(folder):
    info = FrameFolder(folder, 5.0).info
    assert (info.duration, info.fps, info.num_frames, info.width, info.height) == (1.0, 5.0, 5, 32, 24)


def test_the_stream_gives_each_image_once_or_keeps_to_its_grid(folder):
    source = FrameFolder(folder, 5.0)
    assert [time for time, _ in source.stream()] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert [time for time, _ in source.stream(start=0.5, end=0.7)] == pytest.approx([0.4, 0.6])
    assert [time for time, _ in source.stream(fps=10.0, end=0.5)] == pytest.approx([0.0, 0.0, 0.2, 0.2, 0.4])
    every = torch.stack([frame for _, frame in source.stream()])
    assert torch.equal(every, source.frames_at([0.0, 0.2, 0.4, 0.6, 0.8]).frames)


def test_a_size_scales_every_image(folder):
    assert FrameFolder(folder, 5.0).frames_at([0.0, 0.9], size=12).frames.shape == (2, 3, 12, 16)


def test_a_time_past_the_end_is_an_error_or_the_last_image(folder):
    source = FrameFolder(folder, 5.0)
    with pytest.raises(DecodeError, match=r"at 1\.50 s.*5 images at 5 fps end at 1\.00 s"):
        source.frames_at([1.5])
    assert source.frames_at([1.5], on_short="repeat_last").times.item() == pytest.approx(0.8)


def test_a_missing_number_is_named(folder):
    (folder / "frame_10.png").unlink()
    with pytest.raises(DecodeError, match="numbered 8 to 12, but 10 is missing"):
        FrameFolder(folder, 5.0)


def test_two_images_of_one_number_are_named(folder):
    write_image(folder / "frame_010.png", 1)
    with pytest.raises(DecodeError, match=r"'frame_010.png' and 'frame_10.png' have the same number"):
        FrameFolder(folder, 5.0)


def test_an_image_of_another_size_is_named(folder):
    write_image(folder / "frame_13.png", 13, size=(24, 32))
    with pytest.raises(DecodeError, match=r"frame_13.png: is 24x32, but the folder's first image is 32x24"):
        FrameFolder(folder, 5.0).frames_at([1.0])


def test_an_image_without_a_number_is_named(folder):
    write_image(folder / "cover.png", 0)
    with pytest.raises(DecodeError, match=r"'cover.png' has no number"):
        FrameFolder(folder, 5.0)


def test_a_broken_image_is_named(folder):
    (folder / "frame_9.png").write_bytes(b"no image")
    with pytest.raises(DecodeError, match=r"frame_9.png: cannot be decoded"):
        FrameFolder(folder, 5.0).frames_at([0.2])


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DecodeError, match="holds no images"):
        FrameFolder(tmp_path, 5.0)


def test_a_file_is_no_folder(tmp_path):
    path = write_video(tmp_path / "video.mp4", num_frames=2)
    with pytest.raises(DecodeError, match="is not a folder"):
        FrameFolder(path, 5.0)
