"""`python -m serving.shipper`: ship the prediction log in SERVING_DATA to SERVING_PREDICTIONS, until SIGTERM.

With SERVING_SHIP_AT_END=on, for a log that ends with the shipper, as a pod's does, it then ships all that is left.
One for each folder, beside the service, which imports nothing of it: it needs pyarrow, and the service does not.
"""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping

from botocore.exceptions import BotoCoreError, ClientError

from serving.prediction_log.retry import RepeatedTask
from serving.server import json_logging
from serving.server.worker_lock import try_lock
from serving.settings import read_shipping
from serving.shipper.ship import Pace, Shipper
from updraft.errors import UserError
from updraft.registry.s3 import VerificationError

LOCK = "shipper.lock"
LOCK_SECONDS = 1.0  # between two attempts, while another shipper has the folder
NICENESS = 10  # the service comes first; with 15, a saturated machine ships too late
MAX_BACKOFF = 60.0
LAST_ATTEMPTS, LAST_PAUSE = 3, 2.0  # at the end, while whatever ends us waits
EXPECTED = (ClientError, BotoCoreError, OSError, sqlite3.Error, VerificationError)

log = logging.getLogger("serving.shipper")


def main(environment: Mapping[str, str]) -> None:
    """Ship again and again; ValueError names the invalid variable."""
    settings = read_shipping(environment)
    json_logging.configure(settings.data / "logs", "shipper", settings.log_level, settings.log_json)
    stop = threading.Event()
    # In a thread: the handler may interrupt the very code whose lock it needs.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: threading.Thread(target=stop.set).start())
    os.nice(NICENESS)
    while (lock := try_lock(settings.data / LOCK)) is None:
        if stop.wait(LOCK_SECONDS):
            return
    shipper = Shipper(settings.data, settings.bucket, Pace(settings.seconds, min(2.0, settings.seconds / 4)))
    log.info("shipping %s to %s", settings.data, settings.bucket)
    try:
        _run(shipper, stop)
        if settings.at_end:
            _end(shipper)
    finally:
        shipper.state.close()
        lock.release()


def _run(shipper: Shipper, stop: threading.Event) -> None:
    task = RepeatedTask("predictions stay here for now", "predictions are shipped again", EXPECTED)
    while not stop.is_set():
        more = False

        def ship() -> None:
            nonlocal more
            more = shipper.store.path.exists() and shipper.run_once()

        task.run(ship)
        if task.failures:
            shipper.note_failure()
        wait = min(shipper.pace.poll_seconds * 2.0 ** min(task.failures, 10), MAX_BACKOFF)
        stop.wait(0.0 if more and not task.failures else wait)
    # What is due now is due later, too: another shipper goes on from the state, unless the log ends here.


def _end(shipper: Shipper) -> None:
    for attempt in range(1, LAST_ATTEMPTS + 1):
        try:
            if shipper.store.path.exists():
                shipper.end()
        except EXPECTED as error:
            log.error("attempt %d of %d to ship what is left failed: %s", attempt, LAST_ATTEMPTS, error)
            time.sleep(LAST_PAUSE)
        else:
            log.info("all is shipped, and the log ends")
            return


if __name__ == "__main__":
    try:
        main(os.environ)
    except (ValueError, UserError) as error:
        sys.exit(f"serving.shipper: {error}")
    except OSError as error:
        sys.exit(f"serving.shipper: SERVING_DATA: {error}")
