"""The page of a talk in a real, headless Chromium, against the real command and a model on a real HTTP server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from llm_server import llm_server
from talking import reply
from tiny import ROOT, opengl_works

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
EVIL = '<img id="evil" src="x" onerror="document.title=1">'
CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="needs Chromium (apt-get install chromium)"
)


def answer(body: dict) -> str:
    text = reply(body["messages"])
    return text.replace("[end of description]", f"* {EVIL}\n[end of description]")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk")
    with llm_server("answer") as server:
        server.reply = answer
        command = [
            sys.executable, "-m", "embodied.commands.main", "talk", "ui=web", "llm=openai", "llm.model=m",
            f"llm.base_url={server.base_url}", "llm.api_key_env=A_KEY", "camera.width=160", "camera.height=120",
            "robot.planning.n_samples=16", f"runs_dir={folder}",
        ]  # fmt: skip
        environment = {**os.environ, "A_KEY": "k", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line):
                break
        else:
            pytest.fail("".join(lines))
        yield found.group()
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
        assert "embodied talk resume=" in rest, rest
        assert process.returncode == 0


@pytest.fixture(scope="module")
def page(url):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        yield page
        browser.close()
        assert not errors, errors


def wait(page, condition: str, timeout_s: float = 60.0) -> None:
    """Playwright's own waiting evaluates strings inside the page, which its policy forbids."""
    end = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"never true: {condition}\n{page.inner_text('main')}"
        page.wait_for_timeout(50)


# NaN, never an error, while the page is still being filled.
HEIGHT = "parseFloat((document.getElementById('reading-torso.position')?.textContent ?? '').trim().split(/\\s+/)[2])"


def test_a_sentence_moves_the_robot_and_undo_takes_it_back(page):
    wait(page, f"{HEIGHT} > 0.23")
    page.fill("#text", "height 0.14")
    page.press("#text", "Enter")
    page.wait_for_selector("#history li.now", timeout=60_000)
    wait(page, f"Math.abs({HEIGHT} - 0.14) < 0.03")
    assert "height 0.14" in page.inner_text("#description")
    values = "Array.from(document.querySelectorAll('.term .value'), (v) => v.textContent).join()"
    first = page.evaluate(values)
    assert first.count(",") >= 4
    wait(page, f"{values} !== {first!r}")
    page.click("#undo")
    wait(page, "!document.querySelector('#history li')")
    wait(page, f"{HEIGHT} > 0.23")


def test_text_stays_text(page):
    page.fill("#text", f"height 0.2 {EVIL}")
    page.click("button[type=submit]")
    page.wait_for_selector("#history li.now", timeout=60_000)
    assert EVIL in page.inner_text("#history")
    assert EVIL in page.inner_text("#description")
    assert page.query_selector("#evil") is None
    assert page.title() == "Talk to the robot"


def test_reload_keeps_the_talk(page):
    said = page.inner_text("#history")
    page.reload()
    wait(page, f"document.getElementById('history').innerText === {said!r}")
    assert "token" not in page.url


def test_what_is_kept_can_be_fetched(page):
    page.click("#keep")
    page.wait_for_selector("#saved a", timeout=120_000)
    kinds = page.eval_on_selector_all("#saved a", "links => links.map((l) => l.textContent)")
    assert set(kinds) == {"episode", "program", *(["video"] if opengl_works() else [])}
    for link in page.query_selector_all("#saved a"):
        fetched = page.evaluate(
            "async (href) => { const r = await fetch(href); return [r.status, (await r.blob()).size]; }",
            link.get_attribute("href"),
        )
        assert fetched[0] == 200
        assert fetched[1] > 100


@pytest.mark.skipif(not opengl_works(), reason="needs OpenGL")
def test_the_camera_is_live(page):
    wait(page, "document.getElementById('camera').naturalWidth === 160")
    first = page.get_attribute("#camera", "src")
    wait(page, f"document.getElementById('camera').src !== {first!r}")
