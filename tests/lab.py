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
from collections.abc import Callable, Iterator
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

SERVER = """
import os, signal, threading
from jupyterlab.labapp import main

def end_with_the_caller():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_with_the_caller, daemon=True).start()
main()
"""
"""JupyterLab that stops, and its kernels with it, when its standard input is closed: even the
death of who started it leaves nothing behind."""

SLIDER = ("ArrowRight", "ArrowLeft", "End")
MOVES = {  # the notebooks with sliders; of each choice a move, the way back, and a far move
    "02_attacks.ipynb": [SLIDER],
    "03_norm_gain.ipynb": [SLIDER],
    "06_margins.ipynb": [SLIDER, ("FGM", "ERM", "PGM"), ("√Φ", "as published", "√Φ")],
    "07_bounds.ipynb": [("√Φ / margin", "√Φ", "1 / √n alone")],
    "09_robustness.ipynb": [SLIDER, ("ERM", "PGM", "WRM")],
}

PATIENCE = 60_000
"""Milliseconds after which no other picture is expected."""

ANSWER = f"""() => {{
    const picture = () => document.querySelector("img.widget-image");
    const before = picture().src, heard = new AbortController();
    window.answer = new Promise((resolve, reject) => {{
        const begin = (event) => {{
            heard.abort();
            const since = () => performance.now() - event.timeStamp;
            const look = () => {{
                if (picture().src !== before && picture().complete)
                    requestAnimationFrame(() => resolve(since()));
                else if (since() > {PATIENCE}) reject(new Error("the picture stays the same"));
                else requestAnimationFrame(look);
            }};
            look();
        }};
        for (const kind of ["keydown", "pointerdown"])
            document.addEventListener(kind, begin, {{capture: true, signal: heard.signal}});
    }});
}}"""
"""Sets window.answer to the milliseconds from the next key or click until another picture stands in
a finished frame."""

PIXELS = """() => {
    const picture = document.querySelector("img.widget-image");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    return canvas.toDataURL();
}"""

CURRENT = "window.jupyterapp.shell.currentWidget"
IDLE = """() => {
    const current = window.jupyterapp?.shell.currentWidget;
    return current?.sessionContext?.session?.kernel?.status === "idle";
}"""
"""Also of a page that is there before JupyterLab is: an error of a condition ends the wait."""


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
    command = [sys.executable, "-c", SERVER, *(f"--{k}={v}" for k, v in options.items())]
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log
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
        server.stdin.close()
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


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
            env={**os.environ, "HOME": str(home)},
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(120_000)
        yield context
        context.close()


@contextlib.contextmanager
def session(folder: Path) -> Iterator[Callable[[str], Notebook]]:
    """A JupyterLab and a browser on copies of the notebooks; opens one by its name.

    Args:
        folder: an empty one for the copies, settings and traces.
    """
    notebooks, home = folder / "notebooks", folder / "home"
    shutil.copytree(ROOT / "notebooks", notebooks)
    home.mkdir()
    with serve(notebooks, home) as address, browser(home) as context:
        yield lambda name: Notebook(context, address, name)


class Notebook:
    """One notebook, open in a page of its own.

    Args:
        context: of `browser`.
        address: of `serve`.
        name: of the file.
    """

    def __init__(self, context, address: str, name: str) -> None:
        self.page, self.complaints = context.new_page(), []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)
        self.page.goto(address % name)
        self.page.wait_for_function(IDLE)

    def _listen(self, message) -> None:
        optional = "Failed to load resource"  # a page asks for what need not be there
        if message.type == "error" and not message.text.startswith(optional):
            self.complaints.append(message.text)

    def run_all(self) -> dict:
        """Run > Run All Cells; returns the notebook as it then is, once all cells have run."""
        self._run("notebook:run-all-cells")
        return self.page.evaluate(f"() => {CURRENT}.content.model.toJSON()")

    def rerun(self) -> None:
        """Run the slider's cell once more: nothing but its first picture is drawn then.

        The slider that it replaces is closed, so that it draws nothing ahead meanwhile.
        """
        self.page.evaluate(
            f"""async () => {{
                const mine = (cell) => cell.node.querySelector("img.widget-image") !== null;
                const content = {CURRENT}.content;
                content.activeCellIndex = content.widgets.findIndex(mine);
                const code = "__import__('ipywidgets').Widget.close_all()";
                await {CURRENT}.sessionContext.session.kernel.requestExecute({{code}}).done;
            }}"""
        )
        self._run("notebook:run-cell")

    def _run(self, command: str) -> None:
        """Execute a command of JupyterLab, and wait for its end and for the slider."""
        self.page.evaluate(
            """(command) => {
                window.ran = false;
                window.jupyterapp.commands.execute(command).then(() => (window.ran = true));
            }""",
            command,
        )
        self.page.wait_for_function("() => window.ran")
        self.page.wait_for_function(IDLE)
        self.page.wait_for_function("() => document.querySelector('img.widget-image')?.complete")

    def move(self, how: str) -> float:
        """Press a key on the slider, or click a button; returns the milliseconds to a new picture.

        Args:
            how: the name of a key, or the text of a button.
        """
        is_key = how in SLIDER
        control = ".noUi-handle" if is_key else f".widget-toggle-button:text-is('{how}')"
        control = self.page.locator(control)
        control.scroll_into_view_if_needed()
        self.page.evaluate(ANSWER)
        control.press(how) if is_key else control.click()
        return self.page.evaluate("() => window.answer")

    def picture(self) -> str:
        """The slider's picture, as the browser decoded it."""
        return self.page.evaluate(PIXELS)

    def close(self) -> None:
        """End the kernel, then the page."""
        self.page.evaluate(f"() => {CURRENT}.sessionContext.shutdown()")
        self.page.close()
