"""Say whether a part of Airflow is alive, for a health check: `alive.py SchedulerJob` asks the database for its
heartbeat, `alive.py api` the API server for its database, `alive.py worker` looks when a Celery worker's loop last
beat, which it seldom does without Redis, and whether Redis is there. Exit code 0 or 1; the reason is printed.

A second word names the process that stands for the container, 1 if there is none: what beat before it began is dead.
"""

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path

OLDEST = 30  # seconds; a heart beats every 5
LAST = """
select extract(epoch from max(latest_heartbeat)) from job
where job_type = %s and hostname = %s and state = 'running'
"""


def api() -> str | None:
    asked = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("AIRFLOW__API__PORT", "8080")), timeout=8)
    asked.request("GET", "/api/v2/monitor/health")
    answer = asked.getresponse()
    if answer.status != 200:
        return "it does not answer with 200"
    state = json.load(answer)["metadatabase"]["status"]
    return None if state == "healthy" else f"its database is {state}"


def worker() -> str | None:
    socket.create_connection(("redis", 6379), timeout=5).close()
    return _old(time.time() - Path("/tmp/worker.heartbeat").stat().st_mtime)  # noqa: S108


def job(kind: str) -> str | None:
    import psycopg  # the slowest part of it all

    url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg", "")
    with psycopg.connect(url, connect_timeout=5, options="-c statement_timeout=5000") as database:
        last = database.execute(LAST, (kind, socket.gethostname())).fetchone()[0]
    return _old(time.time() - float(last)) if last else "no heartbeat yet"


def _old(age: float) -> str | None:
    """Judge a heartbeat; a container that is restarted finds the last one of the dead process before it."""
    return None if age < min(OLDEST, _up()) else f"no heartbeat for {age:.0f} s"


def _up() -> float:
    began = int(Path(f"/proc/{sys.argv[2] if sys.argv[2:] else 1}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")


try:
    own = {"api": api, "worker": worker}.get(sys.argv[1])
    fault = own() if own else job(sys.argv[1])
except Exception as error:  # its text may quote a URL that cannot be read, with the password in it
    told = str(error).partition("\n")[0]
    fault = told if told.startswith("connection failed: connection to server") else type(error).__name__
sys.exit(fault)
