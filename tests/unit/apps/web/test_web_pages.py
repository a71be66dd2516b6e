"""What the pages say, to eyes and to screen readers, and how heavy they are."""

import re
from html.parser import HTMLParser

import pytest

from playhead.apps.web import curve
from playhead.apps.web.answers import MomentOut, RelevanceOut
from playhead.apps.web.pages import FOLDER

WEIGHT = 300_000  # bytes, without pictures of videos
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Outline(HTMLParser):
    """Every start tag with its attributes; raises if tags are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and self.open[-1:] != ["svg"] and tag not in ("path", "line", "rect", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "line", "rect", "polyline"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture
def pages(video_id):
    return [
        "/",
        "/?q=red",
        "/?q=",
        "/index",
        f"/video/{video_id('a.mp4')}",
        f"/video/{video_id('a.mp4')}?q=red&t=6&end=9",
    ]


def test_every_page_has_landmarks_labels_and_one_heading(client, pages):
    for page in pages:
        outline = Outline(client.get(page).text)
        for landmark in ("header", "nav", "main", "h1", "title"):
            assert len(outline.all(landmark)) == 1, (page, landmark)
        assert outline.all("html") == [{"lang": "en"}]
        assert all("alt" in image for image in outline.all("img"))
        ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        for _, attrs in outline.tags:
            for name in ("aria-labelledby", "aria-describedby", "for"):
                assert set(attrs.get(name, "").split()) <= set(ids), (page, attrs)


def test_results_are_announced_and_named(client):
    outline = Outline(client.get("/?q=red").text)
    assert {"id": "told", "role": "status", "aria-live": "polite"} in outline.all("p")
    names = [link["aria-label"] for link in outline.all("a") if link.get("class") == "main"]
    assert names[0].startswith("a.mp4, 0:06.0 to 0:09.0, matches, confidence ")


def test_the_page_says_when_nothing_matches(client, web_collection):
    assert web_collection.search("red").matches and not web_collection.search("the").matches
    assert "Nothing here matches" in client.get("/?q=the").text
    assert "Nothing here matches" not in client.get("/?q=red").text


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("q=+", "Say in a few words"),
        ("q=red&files=*.mkv", "nothing of it was to be searched"),
        ("q=red&after=yesterday", "is no date"),
        ("q=red&after=2021-01-02&before=2021-01-01", "no video can meet both"),
        ("like=nonsense", "is no piece of a video"),
        ("like=" + "0" * 32 + ",1,2", "the index holds no video of the id"),
    ],
)
def test_what_cannot_be_searched_is_told_on_the_page(client, query, told):
    answer = client.get(f"/?{query}")
    assert answer.status_code == 200 and told in answer.text


def test_words_and_names_are_never_taken_for_markup(client, video_id):
    text = client.get("/", params={"q": '"><script>alert(1)</script><b a="'}).text
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    for page in ("/index", "/?q=blue", f"/video/{video_id('b [1] <i>.mp4')}?q=blue"):
        text = client.get(page).text
        assert "b [1] &lt;i&gt;.mp4" in text and "<i>" not in text


def test_the_player_starts_at_the_moment_and_lists_those_of_its_video_alone(client, video_id):
    outline = Outline(client.get(f"/video/{video_id('b [1] <i>.mp4')}?q=green&t=4&end=8").text)
    (player,) = [one for one in outline.all("div") if one.get("id") == "player"]
    assert (player["data-start"], player["data-duration"]) == ("4.0", "12.0")
    (video,) = outline.all("video")
    assert video["src"] == f"/media/{video_id('b [1] <i>.mp4')}/0#t=4.0" and "controls" in video
    assert [one["data-time"] for one in outline.all("a") if "data-time" in one] == ["4.0"]
    (slider,) = [one for one in outline.all("div") if one.get("role") == "slider"]
    assert slider["tabindex"] == "0" and slider["aria-valuemax"] == "12.0" and slider["aria-valuenow"] == "4.0"


def test_narrations_are_a_time_line(client, video_id):
    text = client.get(f"/video/{video_id('a.mp4')}").text
    assert "#C C paints it red" in text and 'class="tick" x1="433.3"' in text  # 6.5 of 15 s
    assert "Narrations" not in client.get(f"/video/{video_id('deep/c.mp4')}").text


def test_an_unknown_page_and_an_unknown_video_are_told_in_html(client):
    for path in ("/nothing", f"/video/{'0' * 32}"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 404 and "This did not work" in answer.text


def test_pages_are_light(client, pages):
    static = sum(path.stat().st_size for path in (FOLDER / "static").iterdir())
    for page in pages:
        assert len(client.get(page).content) + static < WEIGHT / 4  # of this small index


def test_a_player_page_of_ten_hours_is_within_its_weight(client, video_id):
    times = [float(k * 45) for k in range(800)]
    heavy = RelevanceOut(times=times, starts=times, ends=times, scores=times, standing=[-1.23456] * 800, threshold=2.0)
    drawing = curve.draw(heavy, [], 36_000.0)
    told = len(drawing.points) + len(str(heavy.times)) + len(str(heavy.standing))
    narrations = 300 * (len('<li><a href="" data-time="35999.99"></a> <span></span></li>') * 2 + 120 + 200)
    static = sum(path.stat().st_size for path in (FOLDER / "static").iterdir())
    assert static + told + narrations + len(client.get(f"/video/{video_id('a.mp4')}?q=red").content) < WEIGHT


def test_nothing_is_fetched_from_elsewhere():
    for path in [*(FOLDER / "static").iterdir(), *(FOLDER / "templates").iterdir()]:
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert re.findall(r"https?://|url\(|@import|\beval\(|innerHTML \+=", text) == [], path


def moment(start, end):
    return MomentOut(
        video="", file="", start=start, end=end, score=0.0, standing=0.0, confidence=0.0, matches=True, by="",
        page="", thumbnail="", strip="",
    )  # fmt: skip


def test_the_curve_is_drawn_to_scale():
    relevance = RelevanceOut(
        times=[0.0, 50.0, 100.0], starts=[], ends=[], scores=[], standing=[0.0, 4.0, 1.0], threshold=2.0
    )
    drawing = curve.draw(relevance, [moment(40.0, 60.0), moment(99.99, 100.0)], 100.0)
    assert drawing.points == "0.0,100.0 500.0,0.0 1000.0,75.0" and drawing.threshold == 50.0
    assert [(bar.x, bar.width) for bar in drawing.bars] == [(400.0, 200.0), (999.9, 2.0)]


def test_the_threshold_is_in_the_picture_even_if_nothing_reaches_it():
    relevance = RelevanceOut(times=[0.0], starts=[], ends=[], scores=[], standing=[-1.0], threshold=4.0)
    assert 0 < curve.draw(relevance, [], 1.0).threshold < 100
