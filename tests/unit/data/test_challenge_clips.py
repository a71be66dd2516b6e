import json

import pytest

from playhead.data.challenge_clips import ChallengeClip, read_challenge_clips, read_query_texts
from playhead.errors import AnnotationError


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def clip(uid="c", start=0.0, end=8.0, **more):
    return {"clip_uid": uid, "video_start_sec": start, "video_end_sec": end, **more}


def challenge(*clips, video="v"):
    return {"version": "1", "videos": [{"video_uid": video, "split": "val", "clips": list(clips)}]}


def queries(*texts):
    return [{"annotation_uid": "a", "language_queries": [{"query": text} if text else {} for text in texts]}]


def test_clips_of_both_challenges_are_read_in_file_order(tmp_path):
    nlq = write(tmp_path / "nlq.json", challenge(clip("b", annotations=queries("x")), clip("a", 5, 9.5)))
    mq = write(
        tmp_path / "mq.json", challenge(clip("m", annotations=[{"annotator_uid": "1", "labels": []}]), video="w")
    )
    assert read_challenge_clips([nlq, mq]) == [
        ChallengeClip("v", "b", 0.0, 8.0),
        ChallengeClip("v", "a", 5.0, 9.5),
        ChallengeClip("w", "m", 0.0, 8.0),
    ]


def test_converted_moments_are_read(tmp_path):
    record = {"video_id": "v", "clip_id": "c", "parent_start_sec": 3.0, "parent_end_sec": 9.0, "annotations": []}
    assert read_challenge_clips([write(tmp_path / "a.json", {"c": record})]) == [ChallengeClip("v", "c", 3.0, 9.0)]


def test_a_clip_in_two_files_counts_once_but_must_be_at_one_place(tmp_path):
    first = write(tmp_path / "1.json", challenge(clip()))
    assert len(read_challenge_clips([first, first])) == 1
    second = write(tmp_path / "2.json", challenge(clip(end=9.0)))
    with pytest.raises(AnnotationError, match="clip 'c' has two places"):
        read_challenge_clips([first, second])


@pytest.mark.parametrize("wrong", [clip(end=0.0), clip(start=9.0), clip(uid="../c"), clip(uid=""), clip(start=-1.0)])
def test_clips_that_cannot_be_are_refused(tmp_path, wrong):
    with pytest.raises(AnnotationError):
        read_challenge_clips([write(tmp_path / "a.json", challenge(wrong))])


@pytest.mark.parametrize("content", [[], {}, 3, {"videos": 1}, {"c": {"video_id": "v"}}])
def test_other_layouts_are_refused(tmp_path, content):
    with pytest.raises(AnnotationError):
        read_challenge_clips([write(tmp_path / "a.json", content)])


def test_texts_are_read_once_as_first_written_and_missing_ones_are_left_out(tmp_path):
    first = write(tmp_path / "1.json", challenge(clip(annotations=queries("Where is the cup?", None, "Who came?"))))
    second = write(tmp_path / "2.json", challenge(clip(annotations=queries("where is the cup", "What now?"))))
    assert read_query_texts([first, second]) == ["Where is the cup?", "Who came?", "What now?"]
