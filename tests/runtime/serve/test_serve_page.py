"""The page in a real browser: headless Chromium watches, teaches, reviews, explains and undoes.

Screenshots go to the folder that MACLIP_SCREENSHOTS names, else to pytest's temporary one.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from served import Served, serving, wait_for
from videos import color_frames, color_video

from maclip_runtime import Recognizer
from maclip_runtime.sources import Arrival, Connection, ConnectionLost, LiveSource, SourceOptions, source

pytest.importorskip("fastapi")
pytest.importorskip("websockets")
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 60_000  # on a busy machine
NARROW = {"width": 390, "height": 844}

UNNAMED = """() => [...document.querySelectorAll('button, a, input, select, img, canvas, video')].filter((one) =>
    !one.closest('[hidden]') && !one.hidden && !(one.getAttribute('aria-label') || one.textContent.trim() || one.title
    || one.labels?.length || one.closest('label') || one.hasAttribute('alt') || one.placeholder)
).map((one) => one.outerHTML)"""


class Dying(Connection):
    """A camera that sends half a second of red and is gone."""

    tries = 0

    def __init__(self, open_s: float) -> None:
        Dying.tries += 1
        if Dying.tries > 1:
            raise ConnectionLost("does not answer")

    def arrivals(self) -> Iterator[Arrival | None]:
        import time

        for frame in color_frames("red", 10):
            time.sleep(0.05)
            yield Arrival(lambda frame=frame: frame, None)
        raise ConnectionLost("was switched off")

    def close(self) -> None:
        pass


@source("dying", live=True)
def open_dying(uri: str, options: SourceOptions) -> LiveSource:
    return LiveSource(uri, Dying, options=options)


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's own camera shows: a blue picture with noise, as uncompressed video."""
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("wrapped_avframe", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in color_frames("blue", 40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    fakes = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *fakes, f"--use-file-for-fake-video-capture={camera}"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def served(bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Red and green are taught. The door shows red, then blue; the desk is a camera that dies."""
    folder = tmp_path_factory.mktemp("page")
    video = color_video(folder / "door.mp4", [("red", 2.0), ("blue", 2.0)], seed=5)
    with Recognizer.open(bundle, folder / "gallery.db", device="cpu") as recognizer:
        for name in ("red", "green"):
            recognizer.enroll(f"{name} light", [clips / f"{name}1.mp4", clips / f"{name}2.mp4"])
    sources = [("door", video), ("desk", "dying://camera")]
    with serving(bundle, folder / "gallery.db", sources, evidence=folder / "evidence") as found:
        yield found


@pytest.fixture
def page(browser: Any, served: Served, tmp_path: Path) -> Iterator[Any]:
    """A page of somebody who has never been here; it must load nothing from elsewhere and raise no error."""
    yield from opened(browser, served, tmp_path)


def opened(browser: Any, served: Served, folder: Path, **options: Any) -> Iterator[Any]:
    context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1280, "height": 860}, **options})
    context.set_default_timeout(PATIENCE_MS)
    found = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("request", lambda request: asked.append(request.url))
    found.goto(served.url)
    yield found
    picture = Path(os.environ.get("MACLIP_SCREENSHOTS", str(folder)))
    test = re.sub(r"\W+", "-", os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0])
    found.screenshot(path=str(picture / f"{test}.png"))
    assert not errors
    assert all(url.startswith((served.url, "blob:", served.url.replace("http", "ws"))) for url in asked)
    context.close()
    while served.studio.teaching.changes():
        served.studio.teaching.undo()


def go(page: Any, view: str) -> None:
    page.goto(page.url.split("#")[0] + f"#/{view}")


def test_watch_shows_pictures_answers_and_a_source_that_died(page: Any) -> None:
    door, desk = (page.locator("article.source").filter(has_text=name) for name in ("door", "desk"))
    door.locator("canvas.drawn").wait_for()
    door.locator(".headline .pill").filter(has_text="red light").wait_for()
    assert door.locator(".bars li").count() == 2
    desk.locator(".state.lost, .state.connecting").wait_for()
    desk.locator(".problem").filter(has_text=re.compile("switched off|does not answer")).wait_for()
    event = page.locator(".events article").filter(has_text="red light").first
    event.wait_for()
    assert not page.evaluate(UNNAMED)
    event.get_by_role("link", name="Why").click()
    page.locator(".distances li").first.wait_for()
    page.locator("figure.pair .paths line").first.wait_for(state="attached")


def test_an_action_is_taught_from_the_browsers_camera(page: Any, served: Served) -> None:
    go(page, "teach")
    page.get_by_role("radio", name="This device's camera").click()
    page.locator("video").evaluate("one => new Promise(done => { if (one.videoWidth) done(); one.onresize = done; })")
    page.locator("#seconds").fill("2")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Record", exact=False).first.click()
    take = page.locator("article.take")
    take.wait_for()
    assert take.locator(".verdict").inner_text().startswith("A good clip")
    take.get_by_label("Name of the action").fill("blue light")
    take.locator(".meter").filter(has_text="A new action").wait_for()
    assert not page.evaluate(UNNAMED)
    take.get_by_role("button", name="Keep").click()
    page.locator(".toast").filter(has_text="blue light has one clip now").wait_for()
    wait_for(lambda: served.answer("door") == "blue light")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    page.locator(".toast").filter(has_text="Undone").wait_for()
    assert "blue light" not in {info.name for info in served.studio.recognizer.classes()}


def test_windows_are_reviewed_by_keyboard_alone(page: Any, served: Served) -> None:
    wait_for(lambda: len(served.call("GET", "/api/windows")["items"]) >= 6, 60)
    go(page, "review")
    page.locator(".tile").nth(5).wait_for()
    here = page.locator(".tile.here").get_attribute("id")
    assert not page.evaluate(UNNAMED)
    page.keyboard.press("s")
    page.locator(f"#{here}").wait_for(state="detached")
    page.locator(".tile.here").wait_for()
    page.keyboard.press("p")
    page.keyboard.press("]")
    page.keyboard.press("+")
    assert page.locator(".speed").inner_text() == "2×"
    page.keyboard.press(" ")
    assert page.locator(".tile[aria-selected=true]").count() == 1
    page.locator(".keys button").filter(has_text="red light").wait_for()
    page.keyboard.press("2")  # the second class by name: red light
    page.locator(".toast").filter(has_text="added to red light").wait_for()
    assert {info.name: info.clips for info in served.studio.recognizer.classes()}["red light"] == 3
    field = page.get_by_label("another name")
    field.fill("blue light")
    last = served.call("GET", "/api/windows")["items"][-1]["id"]
    served.call("POST", "/api/windows/assign", {"ids": [last], "name": "amber light", "force": True})
    page.locator(".keys button").filter(has_text="amber light").wait_for()  # somebody else's class, while one types
    assert field.input_value() == "blue light"
    page.keyboard.press("Enter")
    page.locator(".toast").filter(has_text=re.compile("added to blue light|Not added")).wait_for()
    anyway = page.get_by_role("button", name="Keep anyway")
    if anyway.count():  # the video comes round again: a window may repeat a clip
        anyway.click()
    page.locator(".toast").filter(has_text="added to blue light").wait_for()
    assert field.input_value() == ""
    page.locator(".filters select").nth(1).select_option("uncertain")  # there is none
    page.locator(".tiles").get_by_text("Nothing waits").wait_for()
    page.locator("h1").click()
    page.keyboard.press("1")
    page.locator(".toast").filter(has_text="Nothing waits").wait_for()  # there is no window to name


def test_the_gallery_is_changed_with_undo_and_two_people_see_it(page: Any, browser: Any, served: Served) -> None:
    go(page, "gallery")
    other = browser.new_context(locale="de-DE").new_page()
    other.set_default_timeout(PATIENCE_MS)
    other.goto(served.url + "/#/gallery/red%20light")
    other.get_by_role("heading", name="Galerie").wait_for()
    page.get_by_role("button", name="red light").click()
    page.locator(".clips li").nth(1).wait_for()
    assert not page.evaluate(UNNAMED)
    page.get_by_role("button", name="Rename").click()
    page.locator("dialog input").fill("scarlet")
    page.locator("dialog").get_by_role("button", name="Rename").click()
    page.locator("button.class").filter(has_text="scarlet").wait_for()
    other.locator("button.class").filter(has_text="scarlet").wait_for()
    page.get_by_role("button", name="Remove clip").first.click()
    page.locator(".toast").filter(has_text="removed").wait_for()
    page.get_by_role("button", name="Undo:").click()
    page.get_by_role("button", name="Undo: red light is now scarlet").click()  # the header's, once the first is done
    other.locator("button.class").filter(has_text="red light").wait_for()
    assert {info.name: info.clips for info in served.studio.recognizer.classes()} == {"red light": 2, "green light": 2}
    page.get_by_role("button", name="Check").click()
    page.locator(".findings").wait_for()
    other.context.close()


class Late:
    """The answer to the first of some requests, which is kept until it is out of date."""

    def __init__(self, page: Any, addresses: re.Pattern[str]) -> None:
        self.page = page
        self.kept: list[tuple[Any, Any]] = []
        page.route(addresses, self._keep)

    def _keep(self, route: Any) -> None:
        if self.kept:
            route.continue_()
        else:
            self.kept.append((route, route.fetch()))

    def asked(self) -> None:
        while not self.kept:
            self.page.wait_for_timeout(20)

    def arrives(self) -> None:
        route, answer = self.kept[0]
        route.fulfill(response=answer)
        self.page.wait_for_timeout(500)


def test_an_answer_to_an_older_question_changes_nothing(page: Any, served: Served) -> None:
    go(page, "review")
    page.locator(".tile.here").wait_for()
    late = Late(page, re.compile("/api/windows[?]"))
    page.locator(".filters select").nth(3).select_option("3600")
    late.asked()
    here = page.locator(".tile.here").get_attribute("id")
    page.keyboard.press("s")
    page.locator(f"#{here}").wait_for(state="detached")
    late.arrives()
    assert not page.locator(f"#{here}").count()
    go(page, "gallery")
    page.locator(".clips li").first.wait_for()
    late = Late(page, re.compile("/api/clips[?]name=red"))
    page.get_by_role("button", name="red light").click()
    late.asked()
    page.get_by_role("button", name="green light").click()
    for clip in served.call("GET", "/api/clips?name=green%20light")["items"]:
        page.locator(f".clips img[src='/api/clips/{clip['id']}/strip.jpg']").wait_for()
    late.arrives()
    for clip in served.call("GET", "/api/clips?name=green%20light")["items"]:
        assert page.locator(f".clips img[src='/api/clips/{clip['id']}/strip.jpg']").count() == 1


def test_the_end_of_a_calibration_is_said_and_can_be_undone(page: Any, served: Served) -> None:
    go(page, "calibrate")
    page.locator("input[type=checkbox][value=desk]").uncheck()
    page.locator("#cal-seconds").fill("5")
    page.locator("button.primary").click()
    page.locator(".toast").get_by_role("button", name="Undo").wait_for()
    assert page.locator(".toast").count() == 1
    assert page.locator("svg.plot").count() == 2
    page.locator(".toast").get_by_role("button", name="Undo").click()
    page.locator("svg.plot").first.wait_for(state="detached")


def test_a_wrong_token_stays_outside(browser: Any, bundle: Path, enrolled: Path, tmp_path: Path) -> None:
    with serving(bundle, enrolled, required=True) as locked:
        for page in opened(browser, locked, tmp_path):
            page.get_by_label("Token").fill("wrong")
            page.get_by_role("button", name="Log in").click()
            page.get_by_role("alert").filter(has_text="not the token").wait_for()
            page.get_by_label("Token").fill(str(locked.token))
            page.get_by_role("button", name="Log in").click()
            page.get_by_role("heading", name="Watch").wait_for()
            page.get_by_role("button", name="Log out").click()
            page.get_by_label("Token").wait_for()


def test_a_phone_in_the_dark_shows_every_view_in_chinese(browser: Any, served: Served, tmp_path: Path) -> None:
    for page in opened(browser, served, tmp_path, viewport=NARROW, color_scheme="dark", locale="zh-CN"):
        for view in ("watch", "teach", "review", "gallery", "calibrate", "health"):
            go(page, view)
            page.locator(f"main.view-{view} h1").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], view
            assert page.evaluate("document.querySelector('main').scrollWidth") <= NARROW["width"], view
            assert not page.evaluate(UNNAMED), view
        assert page.evaluate("document.documentElement.lang") == "zh"
        assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--dark').trim()") == "1"
        colours_have_enough_contrast(page)


def colours_have_enough_contrast(page: Any) -> None:
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        for text, ground in [
            ("text", "ground"), ("text", "surface"), ("muted", "surface"), ("muted", "ground"), ("muted", "raised"),
            ("accent", "surface"), ("accent", "soft"), ("on-accent", "accent"), ("good", "surface"), ("bad", "surface"),
            ("warn", "warn-soft"), ("warn", "surface"),
        ]:  # fmt: skip
            one, other = (
                page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
                for name in (text, ground)
            )
            assert contrast(one, other) >= 4.5, (theme, text, ground)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, #rrggbb, as WCAG 2 defines it."""

    def light(colour: str) -> float:
        parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)
