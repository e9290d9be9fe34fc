"""Heeds SIGTERM from the first line of a worker's start. To be imported before anything else.

What granian's worker has from its parent only sets a flag that nobody looks at while it starts, so that it would start,
serve, and be killed at last. granian puts its own handler here when the worker is ready.
"""

from __future__ import annotations

import os
import signal
import threading

if threading.current_thread() is threading.main_thread():
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__module__", "").startswith("granian"):
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
