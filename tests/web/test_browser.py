"""The application as a person meets it: type, see, click; with the keyboard alone; on a phone."""

import time
from urllib.parse import parse_qs, urlparse

import pytest

QUERY = "where did I put the red cup?"
PHONE = {"viewport": {"width": 375, "height": 700}, "is_mobile": True, "has_touch": True}
STATE = """(() => {
    const v = document.querySelector("video");
    const first = v.played.length ? v.played.start(0) : null;
    return { at: v.currentTime, ready: v.readyState >= 2 && !v.seeking, first, broken: !!v.error, width: v.videoWidth };
})()"""


def until(page, expression, seconds=20):
    """Return what an expression gives once it is true; the page's own policy forbids playwright's waiting function."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = page.evaluate(expression)
        if value:
            return value
        page.wait_for_timeout(50)
    raise AssertionError(f"{expression} did not become true; the page shows: {page.inner_text('main')[:500]}")


def standing(page):
    """Return where the player stood when its first frame was there: what it played first, or where it waits."""
    until(page, f"{STATE}.ready || {STATE}.broken")
    state = page.evaluate(STATE)
    assert not state["broken"] and state["width"] == 80
    return state["at"] if state["first"] is None else state["first"]


def start_of(page):
    return float(parse_qs(urlparse(page.url).query)["t"][0])


def ask(page, text=QUERY):
    page.fill("#q", text)
    page.wait_for_selector(".result")


def test_type_see_click_and_the_player_stands_at_the_moment(open_page, world_index):
    page = open_page()
    ask(page)
    answers = world_index.search(QUERY, top=12)
    links = page.locator(".result a.main")
    assert links.count() == len(answers)
    until(
        page, "[...document.querySelectorAll('.result:first-child img')].every((i) => i.complete && i.naturalWidth > 0)"
    )
    place = next(number for number, moment in enumerate(answers) if moment.span.start > 1)
    links.nth(place).click()
    page.wait_for_selector("#curve")
    assert start_of(page) == pytest.approx(answers[place].span.start, abs=0.01)
    assert standing(page) == pytest.approx(answers[place].span.start, abs=0.5)


def test_the_keyboard_alone_is_enough(open_page, world_index):
    page = open_page("/index")
    page.goto("/")
    page.keyboard.press("Tab")  # away from the box, which has the focus at first
    page.keyboard.press("/")
    page.keyboard.type(QUERY)
    page.wait_for_selector(".result")
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
    second = world_index.search(QUERY, top=12)[1]
    page.keyboard.press("Enter")
    page.wait_for_selector("#curve")
    assert start_of(page) == pytest.approx(second.span.start, abs=0.01)
    assert standing(page) == pytest.approx(second.span.start, abs=0.5)


def test_the_curve_is_a_slider_for_keys_and_clicks(open_page, world_index):
    video = world_index.search(QUERY, top=1)[0].content_id
    page = open_page(f"/video/{video}?q=red+cup&t=3")
    assert standing(page) == pytest.approx(3, abs=0.5)
    page.focus("#curve")
    for key, expected in (("ArrowRight", 4.0), ("PageUp", 14.0), ("ArrowLeft", 13.0), ("Home", 0.0)):
        page.keyboard.press(key)
        assert float(page.get_attribute("#curve", "aria-valuenow")) == expected
        until(page, f"{STATE}.ready && Math.abs({STATE}.at - {expected}) < 0.5")
    box = page.locator("#curve").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    until(page, f"{STATE}.ready && Math.abs({STATE}.at - 15) < 0.5")
    assert page.get_attribute("#curve", "aria-valuetext").startswith("0:15.0, ")


def test_a_narration_moves_the_player(open_page, world_index):
    video = next(row for row in world_index.videos() if len(world_index.narrations(row.path)) > 3)
    told = world_index.narrations(video.path)[3]
    page = open_page(f"/video/{video.video_id}")
    standing(page)
    page.click("#narrations li:nth-child(4) a")
    until(page, f"{STATE}.ready && Math.abs({STATE}.at - {told.time}) < 0.5")


@pytest.mark.parametrize("path", ["/", "/?q=red+cup", "/index", "/video/{id}?q=red+cup&t=2"])
def test_nothing_is_wider_than_a_phone(open_page, world_index, path):
    video = world_index.videos()[0].video_id
    page = open_page(path.format(id=video), **PHONE)
    page.wait_for_load_state("load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("window.innerWidth") == 375  # a page that is too wide is shown shrunk


def test_a_phone_taps_and_sees_the_moment(open_page, world_index):
    page = open_page(**PHONE)
    ask(page)
    page.locator(".result a.main").first.tap()
    page.wait_for_selector("#curve")
    assert standing(page) == pytest.approx(world_index.search(QUERY, top=1)[0].span.start, abs=0.5)


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_dark_and_light_follow_the_system_and_the_switch(open_page):
    light, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    assert light.evaluate(BACKGROUND) == "rgb(247, 248, 249)" and dark.evaluate(BACKGROUND) == "rgb(18, 22, 26)"
    dark.click("#theme")
    assert dark.inner_text("#theme") == "Theme: light"
    assert dark.evaluate(BACKGROUND) == light.evaluate(BACKGROUND)
    dark.reload()
    assert dark.evaluate(BACKGROUND) == light.evaluate(BACKGROUND)  # it is remembered


def test_what_goes_wrong_with_a_folder_is_told_beside_its_box(open_page):
    page = open_page("/index", may_complain=True)
    page.fill("#path", "/there/is/none")
    with page.expect_response("**/index/folders") as told:
        page.click("#add button")
    assert told.value.status == 400
    page.wait_for_selector("#add-problem:not([hidden])")
    assert "there is no such folder" in page.inner_text("#add-problem")


def test_the_live_region_tells_what_was_found(open_page):
    page = open_page()
    ask(page)
    until(page, "document.getElementById('told').textContent.length > 0")
    told = page.text_content("#told")
    assert "match" in told
    page.fill("#q", "")
    until(page, "document.getElementById('told').textContent.startsWith('Say in a few words')")
