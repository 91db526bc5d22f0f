"""Chromium without a window, for tests of pages: shows a page in a frame and runs a test's own script beside it.

The page is served to the frame from this machine, so that the script may look into it; the page's policy holds in it as
it would for a reader.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--disable-extensions", "--mute-audio", "--hide-scrollbars"),
)
DRIVER = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="frame" style="border:0;width:%(width)dpx;height:%(height)dpx"></iframe>
<script>
const frame = document.getElementById("frame");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const painted = () => new Promise((done) => frame.contentWindow.requestAnimationFrame(() => setTimeout(done, 0)));
let opened = 0;  // another address each time: one that differs after "#" alone loads nothing
const open = (hash) => new Promise((done) => { frame.onload = done; frame.src = `/page?${++opened}${hash}`; });
const press = (key, target) => (target || frame.contentDocument.activeElement || frame.contentDocument.body)
  .dispatchEvent(new frame.contentWindow.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const fill = async (id, value, event) => {
  const control = frame.contentDocument.getElementById(id);
  control.value = value;
  control.dispatchEvent(new frame.contentWindow.Event(event || "change", { bubbles: true }));
  await sleep(event === "input" ? 250 : 0);
};
const $ = (selector) => frame.contentDocument.querySelector(selector);
const $$ = (selector) => [...frame.contentDocument.querySelectorAll(selector)];
(async () => { %(script)s })()
  .then((result) => ({ result }), (error) => ({ error: String(error && error.stack || error) }))
  .then((told) => fetch("/told", { method: "POST", body: JSON.stringify(told) }));
</script>"""


@functools.cache
def program() -> str:
    """Return Chromium's path; skip the test where there is none, unless in CI, where that is a failure."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("Chromium is not installed, and in CI no test of a page may be skipped")
        pytest.skip("Chromium is not installed")
    return found


def drive(html: str, script: str, *, width: int = 1280, height: int = 900, seconds: float = 180) -> Any:
    """Show a page and return what a script says of it.

    Args:
        script: body of an async function; `open(hash)` shows the page, `$` and `$$` look into it, `press`, `fill`,
            `sleep` and `painted` act on it; what it returns comes back through JSON.
        width, height: px of the page.
    """
    told: dict[str, Any] = {}
    done = threading.Event()
    driver = DRIVER % {"script": script, "width": width, "height": height}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (html if self.path.startswith("/page") else driver).encode("utf-8", "surrogatepass")
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            told.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    profile = tempfile.mkdtemp(prefix="chromium-")
    address = f"http://127.0.0.1:{server.server_port}/"
    sizes = f"--window-size={max(width, 500)},{height}"
    # With a port for debugging it stays after the page has loaded; nobody connects to it.
    command = [program(), *FLAGS, f"--user-data-dir={profile}", sizes, "--remote-debugging-port=0", address]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert done.wait(seconds), f"the page did not answer within {seconds:g} s"
    finally:
        process.terminate()
        process.wait(20)
        server.shutdown()
        server.server_close()
        shutil.rmtree(profile, ignore_errors=True)
    assert "error" not in told, told["error"]
    return told["result"]
