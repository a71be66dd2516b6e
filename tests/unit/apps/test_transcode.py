"""Folders of videos: what is done, skipped, redone, listed; and that a kill loses nothing that was finished."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_videos import KINDS, X264, decode_all, make, write_audio, write_video

from playhead.apps.processes import Failed, run_here
from playhead.apps.transcode import TranscodeSettings, transcode
from playhead.apps.transcode_video import hash_file
from playhead.errors import AnnotationError, PlayheadError, RecipeError, SearchError
from playhead.tasks.clips import ClipReader
from playhead.types import ClipRef, Span
from playhead.video.decode import open_video
from playhead.video.transforms import Preprocess

SMALL = TranscodeSettings(short_side=48, crf=4, workers=2)
CHUNKS = TranscodeSettings(short_side=48, crf=4, chunk_seconds=1, workers=2)


def go(videos, out, settings=SMALL, progress=None, run=run_here):
    """Transcode in this process."""
    return transcode([videos], out, settings, progress, run)


def manifest_of(out):
    return json.loads((out / "manifest.json").read_text())


def contents(out):
    """Return the checksum of every file below `out` but the manifest and the workshop."""
    files = [path for path in out.rglob("*") if path.is_file() and ".transcode" not in path.parts]
    return {str(path.relative_to(out)): hash_file(path) for path in files if path.name != "manifest.json"}


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    (folder / "P01").mkdir(parents=True)
    write_video(folder / "a.mp4", num_frames=50, options=X264)
    write_video(folder / "P01" / "b.mkv", num_frames=20, first=9, options=X264)
    return folder


def test_every_video_lies_where_it_lay_below_its_root(videos, tmp_path):
    report = go(videos, tmp_path / "out")
    assert set(report.written) == {str(videos / "P01" / "b.mkv"), str(videos / "a.mp4")}
    assert (report.skipped, report.failed, report.removed) == ((), (), ())
    assert sorted(contents(tmp_path / "out")) == ["P01/b.mp4", "a.mp4"]
    reader = ClipReader(tmp_path / "out", Preprocess(num_frames=2, image_size=32, resize=48))
    assert reader.read_uniform(ClipRef("P01/b", Span(0.0, 0.5))).shape == (2, 3, 48, 48)


def test_chunks_are_found_and_read_as_one_video(videos, tmp_path):
    go(videos, tmp_path / "out", CHUNKS)
    assert sorted(contents(tmp_path / "out")) == [
        *("P01/b/0.mp4", "P01/b/chunks.json", "a/0.mp4", "a/1.mp4", "a/chunks.json"),
    ]
    preprocess = Preprocess(num_frames=4, image_size=32, resize=48)
    ref = ClipRef("a", Span(0.5, 1.5))  # across the border
    chunked = ClipReader(tmp_path / "out", preprocess).read_uniform(ref)
    plain = ClipReader(videos, preprocess).read_uniform(ref)
    assert (chunked.float() - plain.float()).abs().mean() < 8


def test_the_manifest_names_sources_settings_and_identity(videos, tmp_path):
    go(videos, tmp_path / "out")
    manifest = manifest_of(tmp_path / "out")
    source = videos / "a.mp4"
    first = next(video for video in manifest["videos"] if video["name"] == "a")
    assert first["source"] == str(source)
    assert first["sha256"] == hash_file(source)
    assert (first["size"], first["mtime_ns"]) == (source.stat().st_size, source.stat().st_mtime_ns)
    assert (first["file"], first["bytes"]) == ("a.mp4", (tmp_path / "out" / "a.mp4").stat().st_size)
    assert (first["width"], first["height"], first["num_frames"]) == (64, 48, 50)
    assert first["duration"] == pytest.approx(50 / 30)
    assert manifest["settings"]["short_side"] == 48
    go(videos, tmp_path / "other", CHUNKS)
    assert manifest_of(tmp_path / "other")["identity"] != manifest["identity"]


@pytest.mark.parametrize("settings", [SMALL, CHUNKS], ids=["whole", "chunks"])
def test_what_is_done_is_skipped_and_what_has_changed_is_done_again(settings, videos, tmp_path):
    out, source = tmp_path / "out", videos / "a.mp4"
    go(videos, out, settings)
    before = contents(out)
    again = go(videos, out, settings)
    assert (again.written, len(again.skipped)) == ((), 2)
    os.utime(source, ns=(1, 1))  # touched, but the same content
    touched = go(videos, out, settings)
    assert (touched.written, len(touched.skipped)) == ((), 2)
    assert next(video for video in manifest_of(out)["videos"] if video["name"] == "a")["mtime_ns"] == 1
    assert contents(out) == before
    write_video(source, num_frames=20, first=70, options=X264)
    changed = go(videos, out, settings)
    assert changed.written == (str(source),)
    with open_video(out / ("a" if settings.chunk_seconds else "a.mp4")) as video:
        assert video.info.num_frames == 20
    assert not (out / "a" / "1.mp4").exists()  # of the earlier, longer video


def test_a_file_that_was_lost_or_cut_off_is_made_again(videos, tmp_path):
    out = tmp_path / "out"
    go(videos, out)
    before = contents(out)
    (out / "P01" / "b.mp4").unlink()
    (out / "a.mp4").write_bytes(b"cut off")
    assert len(go(videos, out).written) == 2
    assert contents(out) == before


def test_removed_sources_are_listed_and_their_videos_stay(videos, tmp_path):
    out = tmp_path / "out"
    go(videos, out)
    (videos / "a.mp4").unlink()
    report = go(videos, out)
    assert report.removed == (str(videos / "a.mp4"),)
    assert manifest_of(out)["removed"] == [{"name": "a", "source": str(videos / "a.mp4")}]
    assert (out / "a.mp4").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert go(elsewhere, out).removed == ()  # not looked for


def test_a_root_that_moved_costs_checksums_but_no_work(videos, tmp_path):
    out = tmp_path / "out"
    go(videos, out)
    shutil.move(videos, tmp_path / "moved")
    report = go(tmp_path / "moved", out)
    assert (report.written, len(report.skipped), report.removed) == ((), 2, ())
    assert manifest_of(out)["videos"][1]["source"] == str(tmp_path / "moved" / "a.mp4")


def test_a_zoo_of_broken_files_stops_nothing(videos, tmp_path):
    (videos / "empty.mp4").touch()
    (videos / "text.mp4").write_text("no video")
    write_audio(videos / "sound.mp4")
    whole = write_video(videos / "cut.mp4", options=X264).read_bytes()
    (videos / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (videos / "pointer.mkv").write_text("#EXTM3U\nhttp://example.org/a.ts\n")
    out = tmp_path / "out"
    report = go(videos, out)
    assert len(report.written) == 2
    reasons = {Path(path).name: reason for path, reason in report.failed}
    assert sorted(reasons) == ["cut.mp4", "empty.mp4", "pointer.mkv", "sound.mp4", "text.mp4"]
    assert reasons["sound.mp4"] == "has no video stream, only audio streams."
    assert reasons["empty.mp4"].startswith("is empty (0 bytes)")
    assert {Path(one["source"]).name: one["reason"] for one in manifest_of(out)["failed"]} == reasons
    assert sorted(contents(out)) == ["P01/b.mp4", "a.mp4"]
    (videos / "text.mp4").unlink()
    write_video(videos / "empty.mp4", num_frames=3, options=X264)
    assert [Path(path).name for path, _ in go(videos, out).failed] == ["cut.mp4", "pointer.mkv", "sound.mp4"]


def test_files_that_differ_in_their_ending_only_both_have_a_name(tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    kinds = ("h264 open GOP", "h264 open GOP in Matroska", "h264 open GOP in a transport stream")
    for kind in kinds:
        make(kind, videos)
    assert {KINDS[kind][0] for kind in kinds} == {"open.mp4", "open.mkv", "open.ts"}
    report = go(videos, out)
    assert (len(report.written), report.failed) == (3, ())
    assert sorted(contents(out)) == ["open.mkv.mp4", "open.mp4", "open.ts.mp4"]
    reader = ClipReader(out, Preprocess())
    assert reader.find("open") == out / "open.mp4"
    assert reader.find("open.ts") == out / "open.ts.mp4"
    assert len(go(videos, out).skipped) == 3


def test_two_roots_with_one_name_and_a_video_among_chunks_are_listed(videos, tmp_path):
    other = tmp_path / "other"
    (other / "a").mkdir(parents=True)
    write_video(other / "a.mp4", num_frames=4, options=X264)
    write_video(other / "a" / "0.mp4", num_frames=4, options=X264)
    report = transcode([videos, other], tmp_path / "out", CHUNKS, run=run_here)
    reasons = dict(report.failed)
    assert reasons[str(videos / "a.mp4")].startswith(f"has the name of {other / 'a.mp4'};")
    assert reasons[str(other / "a" / "0.mp4")].startswith(f"would lie among the chunks of {other / 'a.mp4'};")
    assert len(report.written) == 2


def test_foreign_files_are_not_overwritten(videos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.mp4").write_bytes(b"precious")
    report = go(videos, out)
    assert report.failed == (
        (str(videos / "a.mp4"), "a.mp4 is there already and is not of this manifest; move it away."),
    )
    assert (out / "a.mp4").read_bytes() == b"precious"
    with pytest.raises(RecipeError, match="the videos themselves lie here"):
        go(videos, videos)
    with pytest.raises(RecipeError, match="the videos themselves lie here"):
        go(videos / "P01", videos)


def test_a_folder_within_the_root_is_not_transcoded_again(videos):
    go(videos, videos / "small")
    assert len(go(videos, videos / "small").skipped) == 2


def test_other_settings_and_a_broken_manifest_are_errors(videos, tmp_path):
    out = tmp_path / "out"
    go(videos, out)
    with pytest.raises(RecipeError, match=r"holds videos with crf 4; asked for crf 30\."):
        go(videos, out, TranscodeSettings(short_side=48, crf=30))
    assert len(go(videos, out, TranscodeSettings(short_side=48, crf=4, workers=7)).skipped) == 2
    (out / "manifest.json").write_text('{"format_version": 1}')
    with pytest.raises(AnnotationError, match="no manifest of transcoded videos of format 1"):
        go(videos, out)
    (out / "manifest.json").write_text("{")
    with pytest.raises(AnnotationError, match="cannot be read"):
        go(videos, out)
    with pytest.raises(SearchError, match="no such file or folder"):
        go(tmp_path / "nowhere", out)


def test_a_full_disk_ends_the_run_and_keeps_what_is_finished(videos, tmp_path):
    def fill(work, jobs, progress):
        yield from run_here(work, jobs[:1], progress)
        yield Failed(jobs[1], "OSError", OSError(28, "No space left on device"))

    out = tmp_path / "out"
    with pytest.raises(PlayheadError, match=r"cannot be written \(No space left on device\); make room and run again"):
        go(videos, out, run=fill)
    assert len(manifest_of(out)["videos"]) == 1
    assert not (out / ".transcode" / "scratch").exists()
    assert len(go(videos, out).written) == 1


def test_what_cannot_be_put_into_its_place_is_listed(videos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "P01").write_text("a file where a folder is needed")
    report = go(videos, out)
    assert report.written == (str(videos / "a.mp4"),)
    assert "cannot be put into place" in report.failed[0][1]


def test_a_record_written_before_the_kill_but_without_its_file_counts_for_nothing(videos, tmp_path):
    out = tmp_path / "out"
    go(videos, out)
    manifest = manifest_of(out)
    journal = out / ".transcode" / "journal.jsonl"
    journal.write_text("".join(json.dumps(video) + "\n" for video in manifest["videos"]) + '{"name": "torn')
    (out / "manifest.json").unlink()
    (out / "a.mp4").unlink()
    report = go(videos, out)
    assert (report.written, report.skipped) == ((str(videos / "a.mp4"),), (str(videos / "P01" / "b.mkv"),))
    assert not journal.exists()


def test_progress_grows_to_the_whole_and_tells_how_long_still(videos, tmp_path):
    seen = []
    go(videos, tmp_path / "out", progress=seen.append)
    shares = [now.share for now in seen]
    assert shares == sorted(shares)
    assert (seen[-1].share, seen[-1].videos_done, seen[-1].num_videos, seen[-1].failed) == (1.0, 2, 2, 0)
    assert seen[-1].eta_seconds == 0.0
    middle = next(now for now in seen if now.share > 0.4)
    assert middle.eta_seconds == pytest.approx(middle.seconds * (1 - middle.share) / middle.share)


SCRIPT = """
import sys
from playhead.apps.transcode import TranscodeSettings, transcode
if __name__ == "__main__":
    settings = TranscodeSettings(short_side=48, crf=4, chunk_seconds=int(sys.argv[3]) or None, workers=2)
    report = transcode([sys.argv[1]], sys.argv[2], settings)
    print(len(report.written), len(report.skipped), len(report.failed))
"""


@pytest.mark.slow
@pytest.mark.parametrize("chunk_seconds", [0, 1])
def test_a_run_killed_midway_and_resumed_gives_what_an_undisturbed_one_gives(chunk_seconds, tmp_path):
    videos, out, calm = tmp_path / "videos", tmp_path / "out", tmp_path / "calm"
    videos.mkdir()
    for number in range(10):
        write_video(videos / f"{number}.mp4", num_frames=40 + 40 * number, first=number, options=X264)
    (videos / "broken.mp4").write_text("no video")
    script = tmp_path / "go.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(videos), str(out), str(chunk_seconds)]
    run = subprocess.Popen(command, start_new_session=True)
    finished = {}
    deadline = time.monotonic() + 200
    while len(finished) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
        finished = {path.name: path.stat().st_mtime_ns for path in out.glob("[0-9]*")}
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert 3 <= len(finished) < 10
    assert not (out / "manifest.json").exists()
    for path in out.glob("[0-9]*"):  # complete or absent
        with open_video(path) as video:
            assert len(list(video.stream())) == 40 + 40 * int(path.stem)
    resumed = subprocess.run(command, capture_output=True, text=True, check=True)
    written, skipped, failed = map(int, resumed.stdout.split())
    assert (written + skipped, failed) == (10, 1)
    assert skipped >= 3
    assert {name: (out / name).stat().st_mtime_ns for name in finished} == finished  # not made anew
    settings = TranscodeSettings(short_side=48, crf=4, chunk_seconds=chunk_seconds or None)
    go(videos, calm, settings)
    assert contents(out) == contents(calm)
    assert manifest_of(out) == manifest_of(calm)
    assert sorted(os.listdir(out / ".transcode")) == ["lock"]


@pytest.mark.slow
def test_processes_give_what_is_given_here(videos, tmp_path):
    report = transcode([videos], tmp_path / "out", SMALL)
    assert (len(report.written), report.failed) == (2, ())
    go(videos, tmp_path / "here")
    assert contents(tmp_path / "out") == contents(tmp_path / "here")
    assert len(decode_all(tmp_path / "out" / "a.mp4")) == 50
