"""What keeps thousands of waiting triggers from blocking and filling a triggerer: less to collect, less to keep.

A full pass of Python's garbage collector walks everything that is alive, and the event loop stands still meanwhile:
0.1 s in an empty triggerer, 0.7 s with 10,000 triggers (benchmarks/triggers.py). What waits lives for hours, so there
is nothing to find in it. Frozen, it is left out of the passes; it is freed as ever when its last reference goes, and
triggers leave no cycles behind (tests/integration/test_sensor_loop.py).
"""

from __future__ import annotations

import gc
from typing import Any

_STEP = 250  # triggers; some 40,000 objects, which a pass walks in 15 ms

_frozen_at: dict[str, int] = {}


def keep_out_of_collection(what: str, count: int) -> None:
    """Freeze what is alive, when there is more of something than ever before in this process, in steps.

    Only growth counts: a triggerer whose tasks come and go does not freeze again and again, since what is garbage at
    the moment of freezing stays for good.

    :param what: what is counted, e.g. ``waiting``.
    :param count: how many there are now.
    """
    if what not in _frozen_at or count >= _frozen_at[what] + _STEP:
        _frozen_at[what] = count
        gc.collect(1)
        gc.freeze()


def forget_endpoints(client: Any) -> None:
    """Free botocore's table of all endpoints of AWS: 7 MB, needed to make a client and never again.

    botocore has no public way to it; where it is not found, it stays.
    """
    getattr(getattr(client, "_loader", None), "_cache", {}).clear()
    gc.collect()
