"""The ingester as a process: `python -m serving.prediction_log`, started by a worker (see `ingester_process`).

It ends when its worker does: the worker holds the other end of its standard input, and the kernel closes that even
after kill -9. A byte in it means: ingest now. SIGTERM ends it too; each time, what is in the spool is ingested first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from serving.prediction_log.ingester import LOCK, Ingester
from serving.prediction_log.ingester_process import Job
from serving.server import json_logging
from serving.server.worker_lock import FileLock

NICENESS = 5  # requests come first


def main() -> None:
    """Run the job of the first argument, holding the lock that was inherited as the descriptor of the second."""
    job, descriptor = msgspec.json.decode(sys.argv[1], type=Job), int(sys.argv[2])
    folder = Path(job.folder)
    os.nice(NICENESS)
    json_logging.configure(folder / "logs", "ingester", job.log_level, job.log_json)
    ingester = Ingester(folder, job.retention, FileLock(folder / LOCK, descriptor))
    # In a thread: the handler may interrupt the very code whose lock it needs.
    signal.signal(signal.SIGTERM, lambda number, frame: threading.Thread(target=ingester.stop).start())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the worker is asked first
    threading.Thread(target=_listen, args=(ingester,), daemon=True).start()
    ingester.run()


def _listen(ingester: Ingester) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        ingester.wake()
    ingester.stop()


if __name__ == "__main__":
    main()
