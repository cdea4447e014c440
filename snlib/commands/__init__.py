"""The commands of the command line, one a file: what `python -m snlib` is given after its name.

A file has `add(commands)`, which declares its command and options; `execute(options)` carries it
out and returns the exit status.
"""

from __future__ import annotations

from snlib.commands import bundle, claims, list, merge, run, status, verify

COMMANDS = (run, list, status, verify, bundle, merge, claims)
"""In the order in which the help shows them."""
