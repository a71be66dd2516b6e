import numpy as np
import pytest
import torch

from playhead.data.egoclip import EgoClipRow
from playhead.data.egomcq import Question, write_egomcq
from playhead.tasks.multiple_choice import ChoiceAnswer, EgoMCQ


def row(index: int, video: str, time: float, text: str) -> EgoClipRow:
    return EgoClipRow(
        clip_index=index,
        video_id=video,
        video_duration=60.0,
        source="narration_pass_1",
        narration_index=index,
        time=time,
        start=time - 0.5,
        end=time + 0.5,
        text=text,
        verbs=(index,),
        nouns=(index,),
    )


@pytest.fixture
def task(tmp_path) -> EgoMCQ:
    rows = [row(i, f"v{i % 3}", 5.0 + i, f"#C C does {i}") for i in range(6)]
    questions = [
        Question("0", rows[0], (rows[1], rows[0], rows[2], rows[3], rows[4]), 1, "inter"),
        Question("1", rows[5], (rows[1], rows[0], rows[2], rows[3], rows[5]), 4, "intra"),
    ]
    write_egomcq(questions, tmp_path / "egomcq.json")
    return EgoMCQ(videos=tmp_path, questions=tmp_path / "egomcq.json")


def test_each_clip_and_each_text_is_encoded_once(task):
    samples = task.samples("val")
    assert len(samples.clips) == 6  # ten places, six distinct clips
    assert len(samples.texts) == 2
    assert len(samples) == 6


def test_a_model_that_knows_the_right_clip_scores_all(task):
    samples = task.samples("val")
    place = {ref: i for i, ref in enumerate(samples.clips)}
    right = [place[question.choices[question.answer].ref] for question in task.read_questions()]
    clips = np.eye(len(samples.clips), dtype=np.float32)
    answers = [ChoiceAnswer(i, clips[i], i if i < 2 else None, clips[right[i]] if i < 2 else None) for i in range(6)]
    scores = task.score(answers, "val")
    assert scores["egomcq/inter"] == scores["egomcq/intra"] == 100.0
    assert scores["egomcq/questions_inter"] == scores["egomcq/questions_intra"] == 1

    wrong = [ChoiceAnswer(a.clip_index, a.clip, a.text_index, None if a.text is None else -a.text) for a in answers]
    assert task.score(wrong, "val")["egomcq/inter"] == 0.0


def test_a_batch_may_hold_clips_without_texts(task):
    frames = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    batch = task.collate([(2, frames, None), (3, frames, None)])
    assert batch.text is None and batch.clip_indices == (2, 3)
    mixed = task.collate([(0, frames, "a"), (1, None, "b")])
    assert mixed.clip_indices == (0,) and mixed.text_indices == (0, 1)
