"""The time of a store: that of the wall clock, and when somebody sets it, all that waits is moved along.

A length of time that began (``for: 2s``, a back-off, a timeout, a token that comes) lasts as long as it was to last, whatever
the wall clock says meanwhile. A moment of the day (``until: 08:00``) is that of the clock as it is set. So all processes on
a store reckon with one offset of the wall clock from the machine's steady one. It stands in the store; whoever opens a
transaction and finds the wall clock elsewhere moves the offset, and the ends of what waits by as much.
"""

from __future__ import annotations

from ..clock import SECOND, Clock, SystemClock, boot_id
from ..store.base import Transaction

#: A wall clock that is this far away, or less, was not set: it is only slewed.
TOLERANCE = SECOND


def time_of(tx: Transaction, clock: Clock) -> int:
    """The time of a transaction that was just begun."""
    if not isinstance(clock, SystemClock):
        return clock.now()
    boot, offset = boot_id(), clock.offset()
    known = tx.offset(boot)
    if known is None or abs(offset - known) > TOLERANCE:
        if known is not None:
            tx.move_times(offset - known)
        tx.put_offset(boot, offset)
        known = offset
    clock.keep_to(known)
    return clock.now()
