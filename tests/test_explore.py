"""Sliders: the right picture at every place, drawn once, errors in words."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import threading
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from snlib import explore as room
from snlib.errors import UserError, require
from snlib.explore import explore
from snlib.figures import style

SHADES = {1.0: (255, 0, 0), 1.3: (0, 255, 0), math.inf: (0, 0, 255)}


def plain(color) -> plt.Figure:
    """A figure of one colour, 100 x 50 pixels."""
    figure, _ = style.axes(size=(1.0, 0.5))
    figure.clear()
    figure.set_facecolor(np.array(color) / 255)
    return style.laid_out(figure)


class Drawing:
    """Draws a plain colour for each budget, darker for FGM, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, beta, scheme="erm"):
        self.asked.append((beta, scheme))
        require(scheme != "wrm", "no WRM run is recorded.")
        if scheme == "trades":
            raise ValueError("<broken>")
        return plain([part // (2 if scheme == "fgm" else 1) for part in SHADES[beta]])


def color(picture: bytes) -> tuple[int, ...]:
    """The one colour of a PNG."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    assert image.size == (100, 50)
    ((_, value),) = image.getcolors()
    return value


def controls(explorer):
    *rows, message, image = explorer.children
    return [row.children[1] for row in rows], message, image


def test_every_place_shows_its_picture_and_is_drawn_once():
    draw = Drawing()
    explorer = explore(draw, beta=tuple(SHADES), scheme={"ERM": "erm", "FGM": "fgm"})
    (beta, scheme), message, image = controls(explorer)
    assert draw.asked == [(1.0, "erm")] and color(image.value) == (255, 0, 0)
    for _ in range(2):
        for value, shade in SHADES.items():
            beta.value = value
            for name in ("erm", "fgm"):
                scheme.value = name
                expected = tuple(part // (2 if name == "fgm" else 1) for part in shade)
                assert color(image.value) == expected and message.value == ""
    assert len(draw.asked) == len(set(draw.asked)) == 6
    assert not plt.get_fignums()


def test_numbers_slide_and_words_are_buttons():
    explorer = explore(Drawing(), beta=tuple(SHADES), scheme=("erm", "fgm"))
    (beta, scheme), _, _ = controls(explorer)
    assert type(beta).__name__ == "SelectionSlider"
    assert [label for label, _ in beta.options] == ["1", "1.3", "∞"]
    assert type(scheme).__name__ == "ToggleButtons"
    names = [row.children[0].value for row in explorer.children[:2]]
    assert names == ["beta", "scheme"]


def test_start():
    draw = Drawing()
    explorer = explore(draw, beta=tuple(SHADES), scheme=("erm", "fgm"), start={"beta": math.inf})
    assert draw.asked == [(math.inf, "erm")]
    assert color(controls(explorer)[2].value) == (0, 0, 255)


def test_readers_without_a_kernel_see_the_first_picture():
    explorer = explore(Drawing(), beta=tuple(SHADES))
    controls(explorer)[0][0].value = 1.3
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {
        "text/plain",
        "image/png",
        "application/vnd.jupyter.widget-view+json",
    }
    assert color(base64.b64decode(bundle["image/png"])) == (255, 0, 0)


@pytest.mark.parametrize("ahead", [0.0, 60.0])
def test_the_other_pictures_are_drawn_ahead_and_while_the_kernel_is_idle(monkeypatch, ahead):
    """The nearest first."""
    monkeypatch.setattr(room, "AHEAD", ahead)
    monkeypatch.setattr(room, "IDLE", 0.001 if ahead == 0 else 1000.0)
    draw = Drawing()

    async def wait():
        explorer = explore(draw, beta=tuple(SHADES), scheme=("erm", "wrm", "trades"))
        deadline = time.monotonic() + 60
        while len(draw.asked) < 9 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return explorer

    explorer = asyncio.run(wait())
    assert len(draw.asked) == len(set(draw.asked)) == 9
    assert draw.asked[1:4] == [(1.3, "erm"), (math.inf, "erm"), (1.0, "wrm")]
    assert draw.asked[-1] == (math.inf, "trades")
    (beta, scheme), message, image = controls(explorer)
    beta.value, scheme.value = 1.3, "wrm"  # its error was kept for now
    assert message.value == "no WRM run is recorded." and image.layout.visibility == "hidden"
    assert len(draw.asked) == 9


def test_a_closed_slider_draws_nothing_ahead(monkeypatch):
    monkeypatch.setattr(room, "AHEAD", 0.0)
    monkeypatch.setattr(room, "IDLE", 0.001)
    draw = Drawing()

    async def wait():
        explore(draw, beta=tuple(SHADES)).close()
        await asyncio.sleep(0.1)

    asyncio.run(wait())
    assert draw.asked == [(1.0, "erm")]


def test_a_thread_that_handles_moves_does_not_draw(monkeypatch):
    """JupyterLab's subshells: what is drawn is shown at once, the rest is drawn by the loop."""
    monkeypatch.setattr(room, "AHEAD", 0.0)
    monkeypatch.setattr(room, "IDLE", 1000.0)
    draw, threads = Drawing(), []

    def noted(**chosen):
        threads.append(threading.get_ident())
        return draw(**chosen)

    async def wait():
        explorer = explore(noted, beta=tuple(SHADES))
        (beta,), _, image = controls(explorer)

        def move():
            beta.value = math.inf  # passed over before the loop is free
            beta.value = 1.3
            seen = color(image.value)
            beta.value = 1.0
            beta.value = 1.3
            return seen

        thread = threading.Thread(target=lambda: seen.append(move()))
        seen = []
        thread.start()
        thread.join()  # the loop is busy meanwhile
        assert seen == [SHADES[1.0]] and len(threads) == 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return image

    image = asyncio.run(wait())
    assert color(image.value) == SHADES[1.3]
    assert draw.asked == [(1.0, "erm"), (1.3, "erm")] and set(threads) == {threading.get_ident()}


def test_an_error_is_told_and_passes():
    explorer = explore(Drawing(), beta=tuple(SHADES), scheme=("erm", "wrm", "trades"))
    (_, scheme), message, image = controls(explorer)
    scheme.value = "wrm"
    assert message.value == "no WRM run is recorded." and image.layout.visibility == "hidden"
    scheme.value = "trades"
    assert message.value == "ValueError: &lt;broken&gt;"
    scheme.value = "erm"
    assert message.value == "" and image.layout.visibility == "visible"


WRONG = [
    (dict(), r"nothing to choose; give it values"),
    (dict(beta=()), r"beta has the values \[\]; give at least one"),
    (dict(beta=(1.0, 1.3, 1.0)), r"beta has the values \['1', '1.3', '1'\]; .* each once"),
    (dict(beta=(1.0,), start={"bta": 1.0}), r"start names bta; allowed are beta"),
    (dict(beta=(1.0, 1.3), start={"beta": 2.0}), r"start has beta=2.0; allowed are \[1.0, 1.3\]"),
    (dict(beta=(1.0,), scheme=("wrm",)), r"no WRM run is recorded"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_input_is_told_at_once(arguments, message):
    with pytest.raises(UserError, match=message):
        explore(Drawing(), **arguments)


def test_what_is_no_figure_is_refused():
    with pytest.raises(UserError, match=r"draw returned NoneType; it must return a Figure"):
        explore(lambda beta: None, beta=(1.0,))


def test_the_picture_is_the_figure_in_its_own_layout():
    figure, ((ax,),) = style.axes(size=(3.0, 2.0))
    ax.plot([0, 1], [1000, 2000])
    ax.set(xlabel="norm budget", ylabel="a label that needs room")
    default = ax.get_position().bounds
    before = style.laid_out(figure).axes[0].get_position().bounds
    assert before != default  # also of a figure that pyplot has forgotten
    image = Image.open(io.BytesIO(room.png(figure)))
    assert image.size == (300, 200) and image.mode == "RGB"
    assert figure.axes[0].get_position().bounds == before
    assert len(image.getcolors(10_000)) > 10
