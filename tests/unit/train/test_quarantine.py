"""Broken samples are named once each, whatever was killed in between."""

import json

from playhead.data.reading import BrokenSample
from playhead.errors import DecodeError
from playhead.train.quarantine import FILE, append, keep_only, new_samples


def broken(index, word="cut off."):
    return BrokenSample(index, DecodeError(word, path=f"{index}.mp4"), replaced_by=0)


def samples_in(path):
    return [json.loads(line)["sample"] for line in (path / FILE).read_text().splitlines()]


def test_only_the_first_report_of_a_sample_that_is_not_known_is_new():
    reports = [broken(3, "first."), broken(1), broken(3, "second."), broken(2)]
    assert new_samples(reports, known=[1]) == [reports[0], reports[3]]


def test_lines_of_samples_that_no_checkpoint_knows_and_half_a_line_are_dropped(tmp_path):
    keep_only(tmp_path, [])  # there is no file yet
    append(tmp_path, [broken(3), broken(1)], step=5, epoch=1)
    append(tmp_path, [broken(2)], step=9, epoch=2)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"sample": 7, "pa')
    keep_only(tmp_path, [1, 3])
    assert samples_in(tmp_path) == [3, 1]
    append(tmp_path, [broken(2)], step=9, epoch=2)
    assert samples_in(tmp_path) == [3, 1, 2]
