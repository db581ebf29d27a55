"""Which network interfaces are followed: the network and the links probe must agree."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_NICS = 64
"""Interfaces followed. A container host can have thousands; each costs eight series of history."""
_GUEST_SIDE = re.compile(
    r"(?:veth|cali|lxc|tap|vnet|cni|azv|eni[0-9a-f]{8,}|qvo|qvb|qbr|fwpr|fwln|fwbr|gke[0-9a-f])"
)


def followed(names: Iterable[str]) -> list[str]:
    """All of them, in order, up to `MAX_NICS`. Where there are more, first those that are the host's end
    of a container's or a guest's link are left out, then the last ones."""
    out = list(names)
    if len(out) > MAX_NICS:
        out = [n for n in out if not _GUEST_SIDE.match(n)][:MAX_NICS]
    return out
