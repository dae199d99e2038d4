"""The page for people, in a real browser."""

import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.trainer.serving.running import PAINT, RunningService, make_photo


@pytest.fixture(params=[(1200, 900), (360, 740)], ids=["desktop", "phone"])
def page(browser, service: RunningService, request: pytest.FixtureRequest) -> Iterator[object]:
    """The page, watched for anything that goes wrong or elsewhere."""
    width, height = request.param
    opened = browser.new_page(viewport={"width": width, "height": height})
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "request",
        lambda call: (
            call.url.startswith((service.url, "blob:", "data:")) or complaints.append(call.url)
        ),
    )
    opened.goto(service.url)
    yield opened
    wide = opened.evaluate("document.documentElement.scrollWidth")
    opened.close()
    # The browser logs each 4xx that a test provoked, and that a test reads the map.
    provoked = ("Failed to load resource", "willReadFrequently")
    assert [text for text in complaints if not any(part in text for part in provoked)] == []
    assert wide <= width, "the page is wider than the window"


def two_colours() -> bytes:
    """Left black, right red, wider than high."""
    picture = Image.new("RGB", (160, 80))
    picture.paste(PAINT["red"], (80, 0, 160, 80))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def choose(page, photo: bytes, name: str = "photo.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": photo})


def drop(page, photo: bytes) -> None:
    """A drop as the browser tells of it, with a real file."""
    transfer = page.evaluate_handle(
        """(encoded) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
            return transfer;
        }""",
        base64.b64encode(photo).decode(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def alpha_at(page, across: float, down: float) -> int:
    """How much the map covers a place of the photo, 0 to 255."""
    return page.evaluate(
        """([across, down]) => {
            const canvas = document.getElementById("heat");
            const place = [Math.floor(across * canvas.width), Math.floor(down * canvas.height)];
            return canvas.getContext("2d").getImageData(...place, 1, 1).data[3];
        }""",
        [across, down],
    )


def test_a_dropped_photo_is_shown_and_named(page):
    drop(page, make_photo("blue"))
    page.wait_for_selector("#classes li")
    assert page.locator("#classes .name").all_inner_texts()[0] == "blue"
    assert page.locator("#status").text_content().startswith("blue, ")
    assert page.evaluate("document.getElementById('photo').naturalWidth") == 40


def test_a_chosen_photo_has_bars_as_long_as_the_probabilities(page):
    choose(page, make_photo("green"))
    page.wait_for_selector("#classes li")
    percents = [float(text[:-2]) for text in page.locator(".percent").all_inner_texts()]
    bars = page.evaluate(
        """[...document.querySelectorAll(".bar")].map((bar) =>
            100 * bar.getBoundingClientRect().width / bar.parentElement.clientWidth)"""
    )
    assert percents == sorted(percents, reverse=True)
    assert bars == pytest.approx(percents, abs=2)


def test_the_map_lies_over_what_the_network_saw(page):
    """Of 160 x 80 px it saw the middle 80; there red is right."""
    choose(page, two_colours())
    page.wait_for_selector("#classes li")
    assert alpha_at(page, 0.7, 0.5) > 100
    assert alpha_at(page, 0.3, 0.5) < 60
    assert alpha_at(page, 0.1, 0.5) == pytest.approx(140, abs=3), "the dimmed edge"
    assert page.locator("#unseen").is_visible()


def test_another_class_shows_another_map_and_the_switch_hides_it(page):
    choose(page, two_colours())
    page.wait_for_selector("#classes li")
    red = page.evaluate("document.getElementById('heat').toDataURL()")
    page.locator("button.class").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("[aria-pressed=true]").count() == 1
    assert page.evaluate("document.getElementById('heat').toDataURL()") != red
    page.locator("#show").uncheck()
    assert alpha_at(page, 0.1, 0.5) == 0


def test_what_is_no_photo_is_told_and_the_next_one_works(page):
    choose(page, b"no photo")
    page.wait_for_selector("#problem:visible")
    assert "not an image" in page.locator("#problem").inner_text()
    choose(page, make_photo("red"))
    page.wait_for_selector("#classes li")
    assert not page.locator("#problem").is_visible()


def test_the_page_for_programs_lists_every_path(page, service: RunningService):
    page.goto(f"{service.url}/docs")
    page.wait_for_selector("#paths section")
    shown = page.locator("#paths h3").all_inner_texts()
    assert shown == [
        "POST /v1/predict",
        "GET /v1/model",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    ]
