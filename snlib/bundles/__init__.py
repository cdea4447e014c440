"""Bundles: records and checkpoints in one file, or in parts, to carry from machine to machine.

A bundle is a zip file with `records/<name>.json`, `checkpoints/<name>.pt` and `manifest.json`: the
SHA-256 and size of each, the version and engine of snlib, the commit. Where a file must stay small,
the bundle is cut into parts; each is a zip file of its own with `payload`, a slice of the bundle,
and `part.json`, which says whose slice it is. The same content gives the same bytes.

Whatever arrives is suspected. Nothing is unpacked under a name that the file chose, nothing beyond
its declared size, nothing is executed; one fault refuses the whole bundle, by name, before anything
is brought home (`merging`).
"""

from snlib.bundles.layout import LEAST_PART_BYTES, PART_BYTES, Manifest
from snlib.bundles.reading import Unpacked, unpack
from snlib.bundles.writing import write

__all__ = ["LEAST_PART_BYTES", "PART_BYTES", "Manifest", "Unpacked", "unpack", "write"]
