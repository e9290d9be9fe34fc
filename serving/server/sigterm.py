"""Make a starting worker exit on SIGTERM. Import this before anything else.

A granian worker inherits a handler from its parent that only sets a flag, and nobody checks that flag until the worker
is up. A worker stopped during start-up would therefore start, serve, and be killed after the grace period. granian
installs its own handler once the worker is ready, which replaces this one.
"""

from __future__ import annotations

import os
import signal
import threading

if threading.current_thread() is threading.main_thread():
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__module__", "").startswith("granian"):
        # Not sys.exit: imports may be half-way, and nothing has been opened yet that needs closing.
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
