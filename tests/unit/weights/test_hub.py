"""The hub is a folder in the cache's own layout, a closed port, or a server in this process."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch.testing import assert_close

from playhead.errors import WeightsError
from playhead.models.distilbert import DistilBertConfig
from playhead.models.frozen import Frozen, FrozenConfig, SpaceTimeConfig
from playhead.video.transforms import Preprocess
from playhead.weights.bundle import holds_task, load_bundle, load_task_bundle, save_bundle
from playhead.weights.checkpoint_files import read_checkpoint
from playhead.weights.hub import HubName, fetch, local, parse_name

COMMIT, OLDER = "0123456789" * 4, "ab" * 20


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """No token, an empty cache, and a hub at a port that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    point_at(monkeypatch, port)
    return cache


def point_at(monkeypatch, port):
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    template = f"http://127.0.0.1:{port}" + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def place(cache, files, commit=COMMIT, ref="main", repository="them/thing"):
    """Put files into the cache as the library would have; return their folder."""
    top = cache / f"models--{repository.replace('/', '--')}"
    folder = top / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    (top / "refs").mkdir(exist_ok=True)
    (top / "refs" / ref).write_text(commit)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def some_bundle(tmp_path):
    video = SpaceTimeConfig(image_size=16, patch_size=8, width=8, depth=1, heads=2, num_frames=2)
    text = DistilBertConfig(vocab_size=30, dim=8, n_layers=1, n_heads=2, hidden_dim=8, max_positions=8)
    torch.manual_seed(0)
    model = Frozen(FrozenConfig(video=video, text=text, shared_dim=4))
    save_bundle(tmp_path / "made", model, Preprocess(num_frames=2, image_size=16), "bert-base-uncased", {})
    return {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hub:them/thing", HubName("them/thing", "main", None)),
        ("hub:them/thing@v1.2", HubName("them/thing", "v1.2", None)),
        ("hub:them/thing@refs/pr/1:a/b.pth", HubName("them/thing", "refs/pr/1", "a/b.pth")),
        ("hub:The.m_/th-ing:x.npz", HubName("The.m_/th-ing", "main", "x.npz")),
    ],
)
def test_a_name_says_repository_revision_and_file(text, expected):
    assert parse_name(text) == expected
    assert parse_name(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["hub:thing", "hub:a/b/c", "hub:", "hub:a/b@", "hub:a/b:", "hub:a/b:../x", "hub:a/b:/etc/passwd", "a/b"]
)
def test_other_names_are_refused_with_the_form(text):
    with pytest.raises(WeightsError, match=r"is not of the form hub:OWNER/NAME\[@REVISION\]\[:FILE\]"):
        parse_name(text)


def test_a_path_stays_a_path(tmp_path):
    assert local(tmp_path / "hub" / "x") == tmp_path / "hub" / "x"


def test_a_bundle_in_the_cache_is_used_without_asking_the_hub(tmp_path, hub):
    files = some_bundle(tmp_path)
    place(hub, {"config.json": b"{}", "model.safetensors": b""}, commit=OLDER, ref="v1")
    folder = place(hub, files)
    assert local("hub:them/thing") == folder
    assert local(f"hub:them/thing@{COMMIT}") == folder
    assert local("hub:them/thing@v1") == folder.with_name(OLDER)
    made = load_bundle(tmp_path / "made")
    found = load_bundle("hub:them/thing")
    assert found.identity == made.identity
    assert_close(found.model.state_dict(), made.model.state_dict(), atol=0, rtol=0)
    assert not holds_task("hub:them/thing")
    with pytest.raises(WeightsError, match="holds a 'frozen'; a bundle of"):
        load_task_bundle("hub:them/thing")


def test_a_named_file_in_the_cache_is_read(tmp_path, hub):
    save_file({"a": torch.arange(3)}, tmp_path / "x.safetensors")
    place(hub, {"deep/x.safetensors": (tmp_path / "x.safetensors").read_bytes()})
    assert read_checkpoint("hub:them/thing:deep/x.safetensors")["a"].tolist() == [0, 1, 2]


def test_half_a_bundle_in_the_cache_is_not_taken_for_one(hub):
    place(hub, {"config.json": b"{}"})
    with pytest.raises(WeightsError, match="the hub cannot be reached"):
        load_bundle("hub:them/thing")


def test_without_a_network_the_error_says_what_was_asked_and_what_to_do():
    with pytest.raises(WeightsError) as caught:
        load_bundle("hub:them/thing@v1")
    said = str(caught.value)
    assert said.startswith("hub:them/thing@v1: the hub cannot be reached (")
    assert "get config.json and model.safetensors by other means and give their folder" in said
    assert "\n" not in said


def test_with_the_hub_switched_off_the_error_says_so(monkeypatch, hub):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        WeightsError, match=r"not in the cache, and the hub may not be asked \(HF_HUB_OFFLINE\)"
    ) as caught:
        local("hub:them/thing:net.pth")
    assert "get net.pth by other means and give its path" in str(caught.value)
    folder = place(hub, {"net.pth": b"x"})
    assert local("hub:them/thing:net.pth") == folder / "net.pth"


class Hub(BaseHTTPRequestHandler):
    """Serves `files`, or answers with an error of the hub's kind."""

    files: dict[str, bytes] = {}  # noqa: RUF012  the server makes the handlers, so the test speaks to the class
    commits: list[str] = []  # noqa: RUF012  the branch's commit at each request; the last stays
    refusal: tuple[int, str] | None = None
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        revision, name = self.path.split("/resolve/")[1].split("/", 1)
        self.asked.append(self.path)
        commit = revision if len(revision) == 40 else self.commits.pop(0) if len(self.commits) > 1 else self.commits[0]
        status, code = self.refusal or ((200, "") if name in self.files else (404, "EntryNotFound"))
        body = self.files.get(name, b"") if status == 200 else b""
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{abs(hash(body)):040x}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    class OfThisTest(Hub):
        files, commits, refusal, asked = {}, [COMMIT], None, []

    with ThreadingHTTPServer(("127.0.0.1", 0), OfThisTest) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        point_at(monkeypatch, listening.server_port)
        yield OfThisTest
        listening.shutdown()


def test_a_bundle_is_fetched_once(tmp_path, hub, server):
    server.files.update(some_bundle(tmp_path))
    assert load_bundle("hub:them/thing").identity == load_bundle(tmp_path / "made").identity
    assert (hub / "models--them--thing" / "refs" / "main").read_text() == COMMIT
    times = len(server.asked)
    load_bundle("hub:them/thing")
    assert len(server.asked) == times > 0


def test_both_files_are_of_one_commit_though_the_branch_moves_on(tmp_path, server):
    server.files.update(some_bundle(tmp_path))
    server.commits[:] = [OLDER, OLDER, COMMIT]
    folder = fetch(parse_name("hub:them/thing"))
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


def test_an_update_takes_what_is_new(tmp_path, hub, server):
    place(hub, {"config.json": b"old", "model.safetensors": b"old"}, commit=OLDER)
    server.files.update({"config.json": json.dumps({"new": 1}).encode(), "model.safetensors": b"new"})
    assert local("hub:them/thing") == hub / "models--them--thing" / "snapshots" / OLDER
    assert (fetch(parse_name("hub:them/thing")) / "model.safetensors").read_bytes() == b"new"
    assert local("hub:them/thing").name == COMMIT


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((404, "RepoNotFound"), "there is no such repository, or it is private"),
        ((404, "RevisionNotFound"), "there is no revision 'v9' of it"),
        ((404, "EntryNotFound"), "lacks net.pth; name a file that it has"),
        ((403, "GatedRepo"), "given only to those who asked its owner"),
        ((418, ""), "the hub cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(server, refusal, message, hub):
    server.refusal = refusal
    with pytest.raises(WeightsError, match=message) as caught:
        local("hub:them/thing@v9:net.pth")
    assert str(caught.value).startswith("hub:them/thing@v9:net.pth: ") and "\n" not in str(caught.value)
    assert not list(hub.glob("models--*/snapshots/*/*"))


def test_a_network_that_fails_is_not_taken_for_an_answer_when_an_update_is_asked_for(hub):
    place(hub, {"net.pth": b"x"})
    with pytest.raises(WeightsError, match="the hub cannot be reached"):
        fetch(parse_name("hub:them/thing:net.pth"))
