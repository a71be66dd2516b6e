import io
import json
import os
import shutil
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from threading import Event, Thread

import av
import numpy as np
import pytest
import torch

import playhead
from playhead.apps.collection import Collection
from playhead.apps.index import UpdateReport
from playhead.apps.model import Model
from playhead.apps.request import Request, Where, read_date
from playhead.apps.store import VideoRow
from playhead.apps.windows import WindowSettings
from playhead.errors import DecodeError, SearchError, WeightsError
from playhead.types import Clip, ClipRef, Span


@pytest.fixture(scope="module")
def model(bundle_path):
    return playhead.load(bundle_path)


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "a.mp4", [("green", 6), ("red", 3), ("green", 6)])
    make_video(folder / "b.mp4", [("blue", 4), ("green", 4), ("blue", 4)])
    make_video(folder / "deep" / "c.mp4", [("green", 5), ("gray", 5)])
    for name, year in (("a.mp4", 2020), ("b.mp4", 2022), ("deep/c.mp4", 2024)):
        stamp = datetime(year, 6, 1).timestamp()
        os.utime(folder / name, (stamp, stamp))
    return folder


@pytest.fixture(scope="module")
def collection(tmp_path_factory, model, videos):
    return playhead.index(videos, model, at=tmp_path_factory.mktemp("at") / "index")


def told(answers):
    return [(os.path.basename(moment.file), moment.span) for moment in answers]


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'lancedb', 'av', 'jaxtyping'} & set(sys.modules)"
    program = f"import sys, playhead; print(sorted({heavy}), 'load' in dir(playhead))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"


def test_an_unknown_name_of_the_package_says_what_there_is():
    with pytest.raises(AttributeError, match="no 'serach'; it has ClipRef, Collection"):
        playhead.serach  # noqa: B018


def test_the_moment_has_file_span_and_score_and_matches(collection, videos):
    answers = collection.search("red", top=1)
    assert (answers[0].file, answers[0].span) == (str(videos / "a.mp4"), Span(6.0, 9.0))
    assert answers[0].score == pytest.approx(1.0, abs=0.02)
    assert answers.matches and answers.exact and answers.windows == 15 + 12 + 10
    assert answers.told == answers[0].label == "red"


def test_what_is_nowhere_does_not_match_and_the_nearest_is_given_still(tmp_path, model, make_video):
    make_video(tmp_path / "v" / "a.mp4", [("red", 20), ("green", 20)])
    index = playhead.index(tmp_path / "v", model, at=tmp_path / "index")
    assert index.search("green").matches
    answers = index.search("blue")
    assert len(answers) > 0 and not answers.matches
    assert not any(moment.matches for moment in answers)
    assert answers[0].confidence < 0.6


def test_a_video_that_is_relevant_from_end_to_end_matches(tmp_path, model, make_video):
    make_video(tmp_path / "v" / "a.mp4", [("red", 8)])
    answers = playhead.index(tmp_path / "v", model, at=tmp_path / "index").search("red")
    assert told(answers) == [("a.mp4", pytest.approx(Span(0.0, 8.0)))] or answers[0].span.duration > 7
    assert answers.matches


def test_standings_can_be_compared_where_cosines_cannot(collection):
    # "red green" lies between two colours, so even its best window has a low cosine.
    vague, plain = collection.search("red green", top=1)[0], collection.search("gray", top=1)[0]
    assert vague.score > plain.score and vague.standing > plain.standing


def test_two_queries_must_both_fit_and_unwanted_ones_must_not(collection):
    assert {name for name, _ in told(collection.search("green", top=9)) if name} == {"a.mp4", "b.mp4", "c.mp4"}
    best = collection.search(["green", "green"], top=1)[0]
    assert best.score == pytest.approx(collection.search("green", top=1)[0].score, abs=1e-6)
    both = collection.search(["red", "blue"], top=1)
    assert both.told == "red and blue"
    assert both[0].standing < min(collection.search(colour)[0].standing for colour in ("red", "blue"))
    without = collection.search("red green", without="green", top=1)
    assert told(without) == [("a.mp4", Span(6.0, 9.0))]
    assert without.told == "red green, not green"


def test_a_picture_a_clip_a_piece_and_frames_ask_as_words_do(collection, videos, tmp_path, make_video):
    red = tmp_path / "red.png"
    frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), (230, 10, 10), np.uint8), format="rgb24")
    with av.open(str(red), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "rgb24"
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    clip = make_video(tmp_path / "clip.mp4", [("red", 1)])
    piece = ClipRef(str(videos / "a.mp4"), Span(6.5, 8.5))
    frames = torch.tensor([230, 10, 10], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 24, 32)
    for asked in (red, clip, piece, frames, Clip(frames, torch.tensor([0.0, 0.1]))):
        answers = collection.search(asked, top=1)
        assert told(answers) == [("a.mp4", Span(6.0, 9.0))]
        assert answers.matches
    assert collection.search(red).told == "red.png"
    assert told(collection.search(["red", red], top=1)) == [("a.mp4", Span(6.0, 9.0))]


def test_a_query_file_that_is_no_video_is_named(collection, tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(DecodeError, match=r"notes\.mp4"):
        collection.search(tmp_path / "notes.mp4")
    with pytest.raises(DecodeError, match="before the piece asked for"):
        collection.search(ClipRef(str(collection.videos()[0].path), Span(100.0, 101.0)))


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (Where(), {"a.mp4", "b.mp4", "c.mp4"}),
        (Where(files=("*/deep/*",)), {"c.mp4"}),
        (Where(files=("a.*", "b.*")), {"a.mp4", "b.mp4"}),
        (Where(after=date(2022, 1, 1)), {"b.mp4", "c.mp4"}),
        (Where(before=datetime(2022, 1, 1)), {"a.mp4"}),
        (Where(min_seconds=11.0), {"a.mp4", "b.mp4"}),
        (Where(max_seconds=11.0), {"c.mp4"}),
        (Where(files=("a.*",), after=date(2023, 1, 1)), set()),
    ],
)
def test_filters_choose_the_videos(collection, where, names):
    answers = collection.search("green", top=20, where=where)
    assert {name for name, _ in told(answers)} == names


def test_a_filter_shows_the_copy_that_fits(tmp_path, model, videos):
    shutil.copytree(videos, tmp_path / "v")
    shutil.copy(videos / "a.mp4", tmp_path / "v" / "z_copy.mp4")
    index = playhead.index(tmp_path / "v", model, at=tmp_path / "index")
    assert told(index.search("red", top=1))[0][0] == "a.mp4"
    assert told(index.search("red", top=1, where=Where(files=("z_*",))))[0][0] == "z_copy.mp4"


def test_filters_that_nothing_can_meet_are_refused():
    with pytest.raises(ValueError, match="min_seconds is above"):
        Where(min_seconds=3.0, max_seconds=1.0)
    with pytest.raises(ValueError, match="later than"):
        Where(after=date(2025, 1, 2), before=date(2025, 1, 1))
    with pytest.raises(ValueError, match="at least 0"):
        Where(max_seconds=float("nan"))
    assert read_date("2025-03-01") == date(2025, 3, 1)
    assert read_date("2025-03-01T12:30") == datetime(2025, 3, 1, 12, 30)
    with pytest.raises(SearchError, match="'yesterday' is no date"):
        read_date("yesterday")


def test_a_row_of_the_day_itself_counts_as_after_it():
    row = VideoRow("/v/a.mp4", "A", "/v", 1, int(datetime(2025, 3, 1).timestamp() * 1e9), "done", duration=1.0)
    assert Where(after=date(2025, 3, 1)).fits(row) and not Where(before=date(2025, 3, 1)).fits(row)


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u200b", []])
def test_an_empty_request_is_refused(collection, text):
    with pytest.raises(SearchError, match="Say in a few words"):
        collection.search(text)
    with pytest.raises(SearchError, match="empty"):
        collection.search("red", without=["", "blue"])


@pytest.mark.parametrize("text", ["красный цвет", "红色", "🎻🎻🎻", "عربي " * 50, "a\x00b", "red " * 10_000])
def test_other_scripts_emoji_and_long_texts_are_answered(collection, text):
    assert 0 < len(collection.search(text, top=3)) <= 3


def test_a_text_of_absurd_length_is_refused_before_it_is_read():
    with pytest.raises(SearchError, match="1,000,000 letters"):
        Request.of("x" * 1_000_000)


def test_the_curve_is_high_where_the_colour_is_and_says_from_where_on_it_matches(collection, videos):
    curve = collection.relevance("red", videos / "a.mp4")
    assert curve.times.tolist() == [second + 0.5 for second in range(15)]
    assert set(np.flatnonzero(curve.scores > 0.9)) == {6, 7, 8}
    assert set(np.flatnonzero(curve.standing > curve.threshold)) == {6, 7, 8}


def test_status_videos_and_folders_tell_of_the_index(collection, model, videos):
    status = collection.status()
    assert (status.num_videos, status.num_windows, status.is_exact, status.writer) == (3, 37, True, None)
    assert status.folders == (str(videos),) and status.model == model.identity
    assert status.hours == pytest.approx(37 / 3600, abs=1e-4)
    row = collection.video(videos / "a.mp4")
    assert collection.by_id(row.video_id) == row and row.num_windows == 15
    with pytest.raises(SearchError, match="does not hold"):
        collection.video("/etc/passwd")
    with pytest.raises(SearchError, match="no video of the id"):
        collection.by_id("../../etc/passwd")


def decoded(jpeg):
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24")


def test_thumbnails_and_strips_show_the_moment(collection, videos):
    red = decoded(collection.thumbnail(videos / "a.mp4", 7.0, height=48))
    assert red.shape == (48, 64, 3) and red[..., 0].mean() > 200 > 60 > red[..., 1].mean()
    assert decoded(collection.thumbnail(videos / "a.mp4", 999.0))[..., 1].mean() > 200  # the last frame is green
    strip = decoded(collection.strip(videos / "a.mp4", Span(4.0, 8.0), num_frames=4, height=48))
    assert strip.shape == (48, 256, 3)
    assert strip[:, :64, 1].mean() > 200 and strip[:, -64:, 0].mean() > 200


def test_a_link_put_in_the_place_of_a_video_is_not_followed(tmp_path, model, make_video, videos):
    file = make_video(tmp_path / "v" / "a.mp4", [("red", 2)])
    index = playhead.index(tmp_path / "v", model, at=tmp_path / "index")
    file.unlink()
    file.symlink_to(videos / "b.mp4")
    with pytest.raises(SearchError, match="leads elsewhere"):
        index.thumbnail(file, 0.0)


def test_narrations_are_found_by_the_name_of_the_file(tmp_path, collection, model, videos):
    told_of = {
        "a": {
            "narration_pass_1": {
                "narrations": [
                    {
                        "timestamp_sec": 7.0,
                        "narration_text": "#C C paints",
                        "timestamp_frame": 210,
                        "annotation_uid": "1",
                    },
                    {
                        "timestamp_sec": 2.0,
                        "narration_text": "#C C looks",
                        "timestamp_frame": 60,
                        "annotation_uid": "2",
                    },
                ]
            }
        }
    }
    (tmp_path / "narration.json").write_text(json.dumps(told_of))
    index = Collection.open(collection.store.path, model, narrations=tmp_path / "narration.json")
    assert [one.text for one in index.narrations(videos / "a.mp4")] == ["#C C looks", "#C C paints"]
    assert index.narrations(videos / "b.mp4") == [] == collection.narrations(videos / "a.mp4")


def test_folders_without_videos_or_that_are_not_there_are_refused_and_nothing_is_made(tmp_path, model):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(SearchError, match="no video lies below"):
        playhead.index(tmp_path / "empty", model, at=tmp_path / "index")
    with pytest.raises(SearchError, match="no such file or folder"):
        playhead.index([tmp_path / "nowhere"], model, at=tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_without_a_place_the_index_lies_in_the_own_folder_one_per_choice(tmp_path, model, videos, monkeypatch):
    monkeypatch.setenv("PLAYHEAD_HOME", str(tmp_path / "home"))
    first = playhead.index(videos / "deep", model)
    again = playhead.index([videos / "deep"], model)
    assert first.store.path == again.store.path
    assert first.store.path.parent == tmp_path / "home" / "indexes"


def test_folders_come_and_go(tmp_path, model, make_video):
    make_video(tmp_path / "one" / "a.mp4", [("red", 2)])
    make_video(tmp_path / "two" / "b.mp4", [("blue", 2)])
    index = playhead.index(tmp_path / "one", model, at=tmp_path / "index")
    index.add_folder(tmp_path / "two")
    assert len(index.update().unchanged) == 2
    assert told(index.search("blue", top=1))[0][0] == "b.mp4"
    index.forget_folder(tmp_path / "two")
    assert [os.path.basename(row.path) for row in index.videos()] == ["a.mp4"]


def test_another_model_may_not_ask_and_is_told_what_to_do(collection, make_bundle, tmp_path):
    other = playhead.load(make_bundle(tmp_path / "other", dust=0.01))
    with pytest.raises(SearchError, match="Use the bundle it was made with"):
        playhead.open_index(collection.store.path, other)


def test_grounding_needs_a_network_and_one_question(collection):
    with pytest.raises(SearchError, match="no network for language queries"):
        collection.search("red", ground=True)


def test_search_goes_on_in_other_threads_while_the_index_grows(tmp_path, model, make_video):
    make_video(tmp_path / "v" / "a.mp4", [("red", 3), ("green", 3)])
    index = playhead.index(tmp_path / "v", model, at=tmp_path / "index")
    for number in range(4):
        make_video(tmp_path / "v" / f"{number}.mp4", [("green", 4 + number), ("blue", 2)])
    wrong, done = [], Event()

    def ask():
        while not done.is_set():
            if told(index.search("red", top=1)) != [("a.mp4", Span(0.0, 3.0))]:
                wrong.append(1)

    threads = [Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    index.update()
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong and index.status().num_videos == 5


def test_a_model_encodes_words_clips_and_windows_in_one_space(model, videos):
    words = model.encode_text(["red", "green"])
    assert words.shape == (2, 3)
    rows = model.encode_video([ClipRef(str(videos / "a.mp4"), Span(7.0, 8.0)), videos / "b.mp4"])
    assert rows.shape == (2, 3)
    assert float(rows[0] @ words[0]) > 0.95 > float(rows[0] @ words[1])
    windows = model.encode_windows(videos / "a.mp4", WindowSettings(stride=4))
    assert windows.features.shape == (15, 3) and windows.spans[-1].tolist() == [14.0, 15.0]
    assert model.encode_text([]).shape == model.encode_video([]).shape == (0, 3)
    with pytest.raises(ValueError, match=r"write \[text\]"):
        model.encode_text("red")


def test_a_source_that_is_no_model_is_said(tmp_path, bundle_path):
    with pytest.raises(WeightsError, match="no such file or folder"):
        playhead.load(tmp_path / "nothing")
    (tmp_path / "not_weights.pth").write_bytes(b"no")
    with pytest.raises(WeightsError):
        playhead.load(tmp_path / "not_weights.pth")


def test_a_model_of_narrations_gets_questions_as_narrations(bundle):
    plain = Model(bundle, "")
    assert plain.wording("Where did I put the cup?") == "Where did I put the cup?"
    from dataclasses import replace

    narrated = Model(replace(bundle, provenance={"text_style": "narration"}), "")
    assert narrated.wording("Where did I put the cup?") == "#C C puts the cup"


def test_watching_takes_in_what_comes_and_ends_when_told(tmp_path, model, make_video):
    folder = tmp_path / "v"
    make_video(folder / "a.mp4", [("red", 1)])
    os.utime(folder / "a.mp4", (1, 1))
    index = Collection.open_or_create(tmp_path / "index", model)
    stop, reports = Event(), []

    def told_of(report):
        reports.append(report)
        if len(reports) == 1:
            make_video(folder / "b.mp4", [("blue", 1)])
            os.utime(folder / "b.mp4", (1, 1))
        elif len(reports) == 2:
            (folder / "a.mp4").unlink()
        elif len(reports) == 3:
            shutil.move(folder, tmp_path / "away")
        else:
            stop.set()

    index.watch([folder], every=0.02, stop=stop, told=told_of)
    assert all(isinstance(report, UpdateReport) for report in reports[:3])
    changes = [[len(r.added), len(r.deleted)] for r in reports[:3]]
    assert changes == [[1, 0], [1, 0], [0, 1]]
    assert isinstance(reports[3], SearchError) and "no such file or folder" in str(reports[3])
    assert [Path(row.path).name for row in index.videos()] == ["b.mp4"]  # an unplugged disk deletes nothing
