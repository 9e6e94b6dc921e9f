"""A live talk with its camera at 10 fps and a real browser: planner's rate, CPU hogs, swaps, a restart.

    python benchmarks/talk_live.py [--quick]

Runs `embodied talk ui=web` with a model that answers by rule on a loopback HTTP server, and looks at the page in a
headless Chromium. Figures are read off the page's own view and the ledger: plans per second undisturbed, then with as
many busy processes as there are cores, then after the planner is killed with SIGKILL.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from common import finish
from llm_server import llm_server
from tabletop import Row
from talking import reply

ROOT = Path(__file__).resolve().parents[1]
RATE_HZ, SWAP_S, CONTROL_HZ = 15.0, 0.5, 50.0
SNIFF = """
window.WebSocket = class extends WebSocket {
  constructor(...words) {
    super(...words);
    window.pictures = 0;
    this.addEventListener("message", (event) => {
      if (typeof event.data === "string") window.view = JSON.parse(event.data); else window.pictures += 1;
    });
  }
};
"""


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    seconds = 4 if parser.parse_args().quick else 15
    with llm_server("answer") as server, tempfile.TemporaryDirectory() as folder:
        server.reply = lambda body: reply(body["messages"])
        command = [sys.executable, "-m", "embodied.commands.main", "talk", "ui=web", "llm=openai", "llm.model=rule",
                   f"llm.base_url={server.base_url}", "llm.api_key_env=A_KEY", f"runs_dir={folder}"]  # fmt: skip
        environment = {**os.environ, "A_KEY": "k", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        url = next(found.group() for line in process.stdout if (found := re.search(r"http://\S+token=\S+", line)))
        try:
            rows = look(url, seconds)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        ledger = [json.loads(line) for path in Path(folder).rglob("talk.jsonl") for line in path.open()]
    swaps = [row["swap_s"] for row in ledger if row["kind"] == "moving"]
    rows.append(_row("answer to first action [s], median", statistics.median(swaps), SWAP_S, "at most", all=swaps))
    for row in rows:
        print(f"{row['name']:55s} {row['ours']:8.2f}  target {row['target']}")
    raise SystemExit(finish("talk_live", rows, seeds=[0]))


def look(url: str, seconds: float) -> list[Row]:
    """What the page shows in each of the three situations."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = browser.new_page()
        page.add_init_script(SNIFF)
        page.goto(url)
        for sentence in ("height 0.2", "heading 0.5", "height 0.24"):
            page.fill("#text", sentence)
            page.press("#text", "Enter")
            page.wait_for_timeout(2500)
        free = watch(page, seconds)
        hogs = [multiprocessing.Process(target=burn, daemon=True) for _ in range(os.cpu_count() or 1)]
        for hog in hogs:
            hog.start()
        page.wait_for_timeout(2000)
        busy = watch(page, seconds)
        said = page.inner_text("#pulse")
        for hog in hogs:
            hog.kill()
        os.kill(page.evaluate("window.view.pulse.planner_pid"), signal.SIGKILL)
        page.wait_for_timeout(4000)
        after = watch(page, seconds)
        browser.close()
    return [
        _row("plans a second, camera and browser beside", free["plans_hz"], RATE_HZ, samples=free["samples"]),
        _row("pictures a second in the browser", free["pictures_hz"], None),
        _row("control steps a second", free["steps_hz"], 0.95 * CONTROL_HZ),
        _row("with CPU hogs: plans a second", busy["plans_hz"], None, samples=busy["samples"], page_says=said),
        _row("with CPU hogs: control steps a second", busy["steps_hz"], 0.95 * CONTROL_HZ, late=busy["late"]),
        _row("after kill -9: restarts", after["restarts"], 1.0, plans_hz=after["plans_hz"]),
    ]


def watch(page: Any, seconds: float) -> dict[str, float]:
    """Medians of the view over some seconds."""
    pulses, before = [], page.evaluate("window.pictures")
    for _ in range(round(seconds / 0.5)):
        page.wait_for_timeout(500)
        pulses.append(page.evaluate("window.view.pulse"))
    names = ("plans_hz", "samples", "steps_hz", "late", "restarts")
    found = {name: statistics.median(pulse[name] for pulse in pulses) for name in names}
    return {**found, "pictures_hz": (page.evaluate("window.pictures") - before) / seconds}


def burn() -> None:
    """Keeps a core busy."""
    while True:
        sum(range(10_000))


def _row(name: str, ours: float, target: float | None, target_is: str = "at least", **more: Any) -> Row:
    ok = None if target is None else bool(ours <= target if target_is == "at most" else ours >= target)
    nothing = {"peer": None, "peer_name": "-", "ratio": None}
    return Row(name=name, ours=ours, target=target, target_is=target_is, ok=ok, **nothing, **more)


if __name__ == "__main__":
    main()
