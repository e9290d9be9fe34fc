"""Say whether a part of Airflow is alive, for a health check: `alive.py SchedulerJob` asks the database for its
heartbeat, `alive.py api` the API server for its database, `alive.py worker` looks when a Celery worker's loop last
beat, which it seldom does without Redis, and whether Redis is there. Exit code 0 or 1; the reason is printed.
"""

import json
import os
import socket
import sys
import time
import urllib.request
from pathlib import Path

OLDEST = 30  # seconds; a heart beats every 5
LAST = """
select extract(epoch from now() - max(latest_heartbeat)) from job
where job_type = %s and hostname = %s and state = 'running'
"""


def api() -> str | None:
    with urllib.request.urlopen("http://127.0.0.1:8080/api/v2/monitor/health", timeout=8) as answer:
        state = json.load(answer)["metadatabase"]["status"]
    return None if state == "healthy" else f"its database is {state}"


def worker() -> str | None:
    socket.create_connection(("redis", 6379), timeout=5).close()
    age = time.time() - Path("/tmp/worker.heartbeat").stat().st_mtime  # noqa: S108
    return None if age < OLDEST else f"no heartbeat for {age:.0f} s"


def job(kind: str) -> str | None:
    import psycopg

    url = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg", "")
    with psycopg.connect(url, connect_timeout=5) as database:
        age = database.execute(LAST, (kind, socket.gethostname())).fetchone()[0]
    return None if age is not None and age < OLDEST else f"no heartbeat for {age} s"


try:
    own = {"api": api, "worker": worker}.get(sys.argv[1])
    fault = own() if own else job(sys.argv[1])
except Exception as error:
    fault = type(error).__name__
sys.exit(fault)
