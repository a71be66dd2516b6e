import shutil

import pytest

from playhead.apps import doctor
from playhead.apps.doctor import examine
from playhead.apps.index import VideoIndex


@pytest.fixture
def where(tmp_path, bundle, make_video):
    make_video(tmp_path / "v" / "a.mp4", [("red", 2)])
    make_video(tmp_path / "v" / "b.mp4", [("blue", 2)])
    VideoIndex.create(tmp_path / "index", bundle).update([tmp_path / "v"], bundle)
    return tmp_path / "index"


def by_name(findings):
    return {finding.what: finding for finding in findings}


def states(findings):
    return {finding.what: finding.state for finding in findings if finding.what.startswith(("index", "bundle"))}


def test_a_sound_installation_bundle_and_index_have_nothing_broken(where, bundle_path, bundle):
    findings = by_name(examine(str(bundle_path), str(where)))
    assert [finding for finding in findings.values() if finding.state == "broken"] == []
    for name in ("python", "torch", "lancedb", "decoder libx264", "decoder mpeg4", "memory", "own folder", "bundle"):
        assert findings[name].state in ("ok", "note"), name
    assert findings["decoder libx264"].state == "ok"
    assert bundle.identity in findings["bundle"].found
    assert "2 videos, 4 windows" in findings["index"].found
    assert findings["index model"].state == "ok"


def test_every_problem_comes_with_what_to_do(where, bundle_path):
    assert all(finding.advice for finding in examine(str(bundle_path), str(where)) if finding.state != "ok")


def test_a_decoder_that_fails_and_a_missing_package_are_broken(monkeypatch):
    def refuse(path):
        raise OSError("no such codec")

    monkeypatch.setattr(doctor, "open_video", refuse)
    monkeypatch.setattr(doctor, "ESSENTIAL", ("torch", "no-such-package"))
    findings = by_name(examine())
    assert findings["decoder libx264"].state == findings["no-such-package"].state == "broken"
    assert findings["decoder mjpeg"].state == "note"
    assert findings["no-such-package"].advice == "pip install no-such-package"


def test_no_bundle_no_index_and_another_model_are_broken(where, make_bundle, tmp_path):
    other = make_bundle(tmp_path / "other", dust=0.01)
    assert states(examine(str(other), str(where)))["index model"] == "broken"
    assert states(examine(str(tmp_path / "none"), str(tmp_path / "nowhere"))) == {"bundle": "broken", "index": "broken"}


def test_windows_that_are_missing_files_that_are_gone_and_broken_videos_are_told(where, bundle, tmp_path):
    index = VideoIndex.open(where, bundle)
    (tmp_path / "v" / "bad.mp4").write_text("no video")
    index.update([tmp_path / "v"], bundle)
    assert states(examine(index=str(where)))["index files"] == "note"
    index._store.windows.delete("start = 1.0")
    shutil.rmtree(tmp_path / "v")
    findings = examine(index=str(where))
    assert states(findings)["index windows"] == "broken"
    assert "2 indexed files are gone" in by_name(findings)["index files"].found
