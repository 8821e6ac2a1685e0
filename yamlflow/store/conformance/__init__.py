"""What every store is held to: a suite that a store's own tests inherit.

    class TestMyStore(StoreConformance):
        def make_store(self, folder):
            return MyStore(...)

Each test says one promise of ``store.base``. They use no engine: rows go in, rows come out.
"""

from __future__ import annotations

from .calendar import Calendar
from .ground import Ground
from .kept import Kept
from .leases import Leases
from .messages import Messages
from .runs import Runs


class StoreConformance(Runs, Leases, Messages, Kept, Calendar):
    """Inherit, and say how to make an empty store (``make_store``)."""


__all__ = ["Calendar", "Ground", "Kept", "Leases", "Messages", "Runs", "StoreConformance"]
