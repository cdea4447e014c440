"""Plain errors: one line that names the argument, its value, what is allowed and what to do."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake that the reader can mend; the command line prints it without a traceback."""


class NotFinite(UserError):
    """A network gives, or its weights hold, NaN or infinity: in training, a divergence."""


# What PyTorch says of inputs that do not fit a layer.
MISFITS = (
    "Given groups", "Given input size", "Given transposed", "cannot be multiplied",
    "Kernel size can't",
    "must match the size", "Expected 2D", "Expected 3D", "Expected 4D", "Output size is too small",
    "is invalid for input of size",
)  # fmt: skip


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def one_of(name: str, value: object, allowed: Iterable[object]) -> object:
    """Return `value` if it is in `allowed`.

    Raises:
        UserError: naming the argument, the value, the nearest allowed one and all of them.
    """
    choices = list(allowed)
    if value in choices:
        return value
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(f"{name} is {value!r}; allowed are {', '.join(names)}.{hint}")


def positive(name: str, value: float, *, zero: bool = False, infinite: bool = False) -> float:
    """Return `value` as a float if it is a positive number.

    Args:
        name: the argument, as the caller knows it.
        value: the number to check; NaN is never allowed.
        zero: whether 0 is allowed.
        infinite: whether +inf is allowed.

    Raises:
        UserError: naming the argument, the value and what is allowed.
    """
    allowed = ("a number >= 0" if zero else "a number > 0") + (" or inf" if infinite else "")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} is {value!r}; it must be {allowed}.") from None
    enough = number >= 0 if zero else number > 0
    if not enough or (math.isinf(number) and not infinite):
        raise UserError(f"{name} is {value!r}; it must be {allowed}.")
    return number


@contextmanager
def fitting(net: object, shape: Sequence[int]) -> Iterator[None]:
    """Inside, what PyTorch says of an x that does not fit the net becomes one line about x.

    Args:
        net: called with x inside.
        shape: of x, (N, ...).

    Raises:
        UserError: naming x, its shape and the first line of PyTorch's reason.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(part in str(error) for part in MISFITS):
            raise
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"x has shape {tuple(shape)}; {type(net).__name__} refuses it ({reason}); "
            "give (N, ...) inputs of the shape that the net takes."
        ) from error
