"""A JupyterLab of one's own, with its own settings, driven through a headless Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

SETTINGS = {  # no question about news, and every cell in the page, seen or not
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}

PICTURES = "[...document.querySelectorAll('.jp-Notebook:not(.lm-mod-hidden) .jp-OutputArea img')]"

ANSWER = f"""() => {{
    const sources = () => {PICTURES}.map((image) => image.src).join();
    const before = sources();
    window.answer = new Promise((resolve) => document.addEventListener("keydown", () => {{
        const pressed = performance.now();
        const look = () => sources() !== before && {PICTURES}.every((image) => image.complete)
            ? resolve(performance.now() - pressed) : requestAnimationFrame(look);
        look();
    }}, {{once: true, capture: true}}));
}}"""
"""Sets window.answer to the milliseconds from the next key to the frame with another picture."""


def missing() -> str | None:
    """Why no JupyterLab can be driven here, or None."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install -e '.[test]'"
    if browser_path() is None:
        return "there is no browser: apt install chromium"
    return None


def browser_path() -> str | None:
    """A Chromium of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def serve(folder: Path, home: Path) -> Iterator[str]:
    """JupyterLab on a free port, its address with the token; stopped with its kernels at the end.

    Args:
        folder: of the notebooks; they find snlib and the records wherever they are.
        home: an empty folder for settings and traces.
    """
    places = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    environment = {**os.environ, **{f"JUPYTER_{name}": str(home / name) for name in places}}
    environment |= {"IPYTHONDIR": str(home / "ipython"), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "user-settings")}
    environment |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    for name, values in SETTINGS.items():
        plugin = home / "user-settings" / name.replace(":", "/")
        plugin.parent.mkdir(parents=True, exist_ok=True)
        plugin.with_suffix(".jupyterlab-settings").write_text(json.dumps(values))
    token = secrets.token_hex(16)
    options = {
        "ServerApp.port": 0,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "ServerApp.root_dir": folder,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in options.items())]
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        about = home / "RUNTIME_DIR" / f"jpserver-{server.pid}.json"
        deadline = time.monotonic() + 120
        while not about.exists() or not about.read_text().endswith("}"):
            said = (home / "server.log").read_text()[-2000:]
            assert server.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.1)
        yield f"{json.loads(about.read_text())['url']}lab/tree/%s?reset&token={token}"
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            server.kill()


@contextlib.contextmanager
def browser(home: Path) -> Iterator[object]:
    """A headless Chromium with a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            home / "profile",
            executable_path=browser_path(),
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(120_000)
        yield context
        context.close()


class Notebook:
    """One notebook, open in a page of its own.

    Args:
        context: of `browser`.
        address: of `serve`.
        name: of the file.
    """

    def __init__(self, context, address: str, name: str) -> None:
        self.page = context.new_page()
        self.page.goto(address % name)
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
            " === 'idle'"
        )

    def run_all(self) -> dict:
        """Run > Run All Cells; returns the notebook as it then is, once all cells have run."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
            " === 'idle'"
        )
        return self.page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.content.model.toJSON()"
        )

    def grip(self, which: int = 0):
        """The handle of a slider, in view and with the keyboard's focus."""
        handle = self.page.locator(".noUi-handle").nth(which)
        handle.scroll_into_view_if_needed()
        handle.focus()
        return handle

    def press(self, key: str) -> float:
        """Press a key; returns the milliseconds until another picture is there."""
        self.page.evaluate(ANSWER)
        self.page.keyboard.press(key)
        return self.page.evaluate("() => window.answer")

    def pictures(self) -> list[str]:
        """The sources of all pictures."""
        return self.page.evaluate(f"() => {PICTURES}.map((image) => image.src)")

    def close(self) -> None:
        """End the kernel, then the page."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()
