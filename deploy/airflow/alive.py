"""Health check of a component of Airflow. `alive.py SchedulerJob` reads its last heartbeat from the database,
`alive.py api` queries the API server's health endpoint, `alive.py worker` checks the last heartbeat of a Celery
worker's loop, which stalls without Redis, and the connection to Redis. Exits with 0 or 1 and prints the reason.

The optional second argument is the pid of the container's main process, 1 by default: heartbeats from before its start
are those of its dead predecessor.
"""

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path

MAX_AGE = 30  # seconds; heartbeats come every 5
LAST_HEARTBEAT = """
select extract(epoch from max(latest_heartbeat)) from job
where job_type = %s and hostname = %s and state = 'running'
"""


def api() -> str | None:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("AIRFLOW__API__PORT", "8080")), timeout=8)
    connection.request("GET", "/api/v2/monitor/health")
    response = connection.getresponse()
    if response.status != 200:
        return f"expected status 200, found {response.status}"
    state = json.load(response)["metadatabase"]["status"]
    return None if state == "healthy" else f"its database is {state}"


def worker() -> str | None:
    socket.create_connection(("redis", 6379), timeout=5).close()
    return _stale(time.time() - Path("/tmp/worker.heartbeat").stat().st_mtime)  # noqa: S108


def job(kind: str) -> str | None:
    import psycopg  # only here, because it is slow to import

    url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg", "")
    with psycopg.connect(url, connect_timeout=5, options="-c statement_timeout=5000") as database:
        last = database.execute(LAST_HEARTBEAT, (kind, socket.gethostname())).fetchone()[0]
    return _stale(time.time() - float(last)) if last else "no heartbeat yet"


def _stale(age: float) -> str | None:
    """Return a message for a stale heartbeat. A restarted container finds the last one of the process before it."""
    return None if age < min(MAX_AGE, _uptime()) else f"no heartbeat for {age:.0f} s"


def _uptime() -> float:
    started = int(Path(f"/proc/{sys.argv[2] if sys.argv[2:] else 1}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


try:
    check = {"api": api, "worker": worker}.get(sys.argv[1])
    fault = check() if check else job(sys.argv[1])
except Exception as error:  # its message may contain the database's URL, with the password
    message = str(error).partition("\n")[0]
    fault = message if message.startswith("connection failed: connection to server") else type(error).__name__
sys.exit(fault)
