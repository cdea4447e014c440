"""Plain errors: one line that names the argument, its value, what is allowed and what to do."""

from __future__ import annotations

import difflib
import math
import re
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

# And of inputs whose dtype is not that of a layer's weights.
MIXTURES = (
    "Input type (", "the same dtype", "expected scalar type", "mixed dtype",
    "of floating point dtype can require", "not implemented for 'Long'",
    "not implemented for 'Byte'",
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
def fitting(net: object, shape: Sequence[int], dtype: object) -> Iterator[None]:
    """Inside, what PyTorch says of an x that does not fit the net becomes one line about x.

    Args:
        net: called with x inside.
        shape: of x, (N, ...).
        dtype: of x.

    Raises:
        UserError: naming x, its shape or dtype and the first line of PyTorch's reason.
    """
    try:
        yield
    except RuntimeError as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        mixture = _mixture(net, dtype, reason)
        if mixture is not None:
            raise mixture from error
        if not any(part in str(error) for part in MISFITS):
            raise
        raise UserError(
            f"x has shape {tuple(shape)}; {type(net).__name__} refuses it ({reason}); "
            "give (N, ...) inputs of the shape that the net takes."
        ) from error


def _mixture(net: object, dtype: object, reason: str) -> UserError | None:
    """What to say of an x in another dtype than the net's weights; None if that is not amiss."""
    devices = len(set(re.findall(r"(\w+)Tensor\b", reason))) == 1  # one dtype in two places
    if devices or not any(part in reason for part in MIXTURES):
        return None
    parameters = net.parameters() if hasattr(net, "parameters") else ()
    weights = {part.dtype for part in parameters if part.dtype.is_floating_point}
    if len(weights) > 1 or weights == {dtype}:
        return None  # the net is at odds with itself
    name, own = type(net).__name__, next(iter(weights), None)
    theirs = f", the weights of {name} are {own}" if own else f"; {name} refuses it"
    remedy = f"give x.to({own})" if own else "give it the dtype of the weights, e.g. x.float()"
    if own and dtype.is_floating_point:
        remedy += f", or net.to({dtype})"
    return UserError(f"x is {dtype}{theirs} ({reason}); {remedy}.")
