"""Sliders over recorded results: each picture is drawn once, and from then on only shown."""

from __future__ import annotations

import asyncio
import base64
import html
import io
import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import ipywidgets
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from snlib.errors import UserError, require

AHEAD = 1.0
"""Seconds at most in which pictures that may be asked for are drawn before the first is shown."""

IDLE = 0.1
"""Seconds without a move after which the others are drawn."""

PAUSE = 0.005
"""Seconds between two of them, in which the kernel sees to its messages."""


def explore(
    draw: Callable[..., Figure],
    *,
    start: Mapping[str, object] | None = None,
    **choices: Sequence | Mapping[str, object],
) -> Explorer:
    """A figure with a slider or a row of buttons for each choice; the last value of a cell.

    In a kernel the pictures not yet asked for are drawn too, those of the sliders and the nearest
    first: for a second before the figure is shown, then while the kernel is idle. A move costs one
    message. Without a kernel (GitHub, a page) the first picture is shown.

    Args:
        draw: called with one value of each choice, by name; returns a Figure. Let all have
            one size, or the page jumps.
        start: values shown first; the first of each choice if not given.
        choices: what can be chosen. Numbers become a slider, in the order given; texts, or a
            mapping from texts to values, become buttons.

    Raises:
        UserError: a choice without values or with one twice, a start that is not among them, or a
            `draw` that returns no figure. What `draw` raises for the first picture is passed on;
            for a later one it is written in the picture's place.
    """
    require(bool(choices), "explore has nothing to choose; give it values, such as eps=(0.1, 0.2).")
    start = dict(start or {})
    unknown = sorted(set(start) - set(choices))
    require(not unknown, f"start names {', '.join(unknown)}; allowed are {', '.join(choices)}.")
    controls = {name: _control(name, values) for name, values in choices.items()}
    for name, value in start.items():
        allowed = dict(controls[name].options).values()
        require(value in allowed, f"start has {name}={value!r}; allowed are {[*allowed]}.")
        controls[name].value = value
    return Explorer(draw, controls)


class Explorer(ipywidgets.VBox):
    """The controls and the picture; `explore` makes it.

    JupyterLab lets a thread of their own handle the moves. Matplotlib is not made for two threads,
    so that thread shows what is drawn and leaves drawing to the kernel's main loop.
    """

    def __init__(self, draw: Callable[..., Figure], controls: Mapping[str, ipywidgets.Widget]):
        self._draw, self._controls = draw, dict(controls)
        self._pictures: dict[tuple[int, ...], bytes | Exception] = {}
        self._lock, self._last_move = threading.Lock(), -math.inf
        self._first = self._picture(self._place())
        if isinstance(self._first, Exception):
            raise self._first
        self._shown = ipywidgets.Image(format="png", value=self._first)
        self._shown.layout.align_self = "flex-start"  # as large as it was drawn
        self._message = ipywidgets.HTML()
        rows = [ipywidgets.HBox([_name(name), one]) for name, one in self._controls.items()]
        super().__init__([*rows, self._message, self._shown])
        for control in self._controls.values():
            control.observe(self._moved, names="index")
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:  # not in a kernel
            self._loop = None
            return
        begun = time.monotonic()
        while time.monotonic() - begun < AHEAD and self._draw_next():
            pass
        self._loop.call_later(IDLE, self._prepare)

    def _repr_mimebundle_(self, **options: object) -> dict[str, object]:
        """The widget, and the first picture for readers without a kernel."""
        bundle = super()._repr_mimebundle_(**options)
        picture = base64.b64encode(_small(self._first)).decode()
        return bundle | {"text/plain": "<a slider; it needs a kernel>", "image/png": picture}

    def _place(self) -> tuple[int, ...]:
        return tuple(control.index for control in self._controls.values())

    def _picture(self, place: tuple[int, ...]) -> bytes | Exception:
        """The picture at one place, or why there is none; drawn if it is new."""
        if place not in self._pictures:
            chosen = {
                name: control.options[index][1]
                for (name, control), index in zip(self._controls.items(), place, strict=True)
            }
            try:
                self._pictures[place] = png(self._draw(**chosen))
            except Exception as error:  # told if somebody asks for this picture
                self._pictures[place] = error
        return self._pictures[place]

    def _moved(self, change: object) -> None:
        self._last_move = time.monotonic()
        if self._place() in self._pictures:
            self._show()
        elif self._loop is None:
            self._answer()
        else:
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        """Draw what the controls say now; moves passed over meanwhile are left out."""
        self._picture(self._place())
        self._show()

    def _show(self) -> None:
        """Show the present picture if it is drawn; if not, it is about to be."""
        with self._lock:
            picture = self._pictures.get(self._place())
            if isinstance(picture, bytes):
                self._shown.value = picture
                self._message.value, self._shown.layout.visibility = "", "visible"
            elif picture is not None:
                kind = "" if isinstance(picture, UserError) else f"{type(picture).__name__}: "
                self._message.value = html.escape(f"{kind}{picture}")
                self._shown.layout.visibility = "hidden"

    def _prepare(self) -> None:
        """Draw one more picture if nothing moves, and come back for the next, until closed."""
        if self.comm is None:
            return
        idle = time.monotonic() - self._last_move
        if idle < IDLE:
            self._loop.call_later(IDLE - idle, self._prepare)
        elif self._draw_next():
            self._loop.call_later(PAUSE, self._prepare)

    def _draw_next(self) -> bool:
        """Draw the picture that is most likely asked for next; False if none is left."""
        here, sliders = self._place(), [*map(_slides, self._controls.values())]

        def far(place: tuple[int, ...]) -> tuple[bool, float]:
            steps = zip(place, here, sliders, strict=True)
            return any(a != b for a, b, slides in steps if not slides), math.dist(place, here)

        places = itertools.product(*(range(len(one.options)) for one in self._controls.values()))
        absent = [place for place in places if place not in self._pictures]
        if absent:
            self._picture(min(absent, key=far))
        return bool(absent)


def _control(name: str, values: Sequence | Mapping[str, object]) -> ipywidgets.Widget:
    """A slider over numbers, or buttons."""
    named = isinstance(values, Mapping)
    options = list(values.items()) if named else [(_label(value), value) for value in values]
    labels = [label for label, _ in options]
    require(
        len(options) > 0 and len(set(labels)) == len(labels),
        f"{name} has the values {labels}; give at least one, each once.",
    )
    if named or any(isinstance(value, str) for _, value in options):
        control = ipywidgets.ToggleButtons(options=options)
        control.style.button_width = "auto"
        control.layout = {"width": "auto", "flex": "1"}  # one row of buttons if they fit the page
    else:
        control = ipywidgets.SelectionSlider(options=options, layout={"width": "30em"})
    return control


def _slides(control: ipywidgets.Widget) -> bool:
    return isinstance(control, ipywidgets.SelectionSlider)


def _name(name: str) -> ipywidgets.Label:
    """The name of a choice, left of its control."""
    return ipywidgets.Label(name.replace("_", " "), layout={"width": "6em"})


def _label(value: object) -> str:
    if isinstance(value, float):
        return "∞" if math.isinf(value) else f"{value:g}"
    return str(value)


def png(figure: Figure) -> bytes:
    """A figure as PNG, in the layout that it has.

    Solving the layout anew, which showing a figure in a notebook does twice, takes longer than
    drawing.

    Raises:
        UserError: something else than a figure.
    """
    require(
        isinstance(figure, Figure),
        f"draw returned {type(figure).__name__}; it must return a Figure.",
    )
    figure.set_layout_engine("none")
    canvas = figure.canvas  # of a figure seen before: it remembers the sizes of its texts
    canvas = canvas if isinstance(canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    canvas.draw()
    image, stream = Image.fromarray(np.asarray(canvas.buffer_rgba())), io.BytesIO()
    image.convert("RGB").save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _small(picture: bytes) -> bytes:
    """A PNG in 256 colours, a third of the bytes, for what a notebook stores."""
    stream = io.BytesIO()
    few = Image.open(io.BytesIO(picture)).quantize(256, Image.Quantize.FASTOCTREE, dither=0)
    few.save(stream, "PNG", optimize=True)
    return stream.getvalue()
