"""The client, the same for all servers: wrk where many small requests are sent, one by one where a body is large."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Counts what came back with an error status by itself: a `response` function would slow it down.
SCRIPT = """
local requests, at = {}, 0
function init(args)
  for body in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
  end
end
function request() at = at % #requests + 1; return requests[at] end
function done(summary, latency)
  local e = summary.errors
  io.stdout:write(string.format('\\n{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "failed": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
TIMEOUT = 120.0


@dataclass(frozen=True)
class Load:
    """What wrk measured: requests answered in a second, and how long they took in milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    failed: int


def require_wrk() -> None:
    if missing := [name for name in ("wrk", "taskset") if not shutil.which(name)]:
        raise SystemExit(f"missing on this machine: {', '.join(missing)}; sudo apt install wrk util-linux")


def write_bodies(bodies: Iterable[Any], path: Path) -> Path:
    """Write the bodies that requests take in turn, a line each."""
    path.write_text("".join(f"{json.dumps(body)}\n" for body in bodies), encoding="utf-8")
    return path


def send(port: int, path: str, bodies: Path, connections: int, seconds: int, core: str) -> Load:
    """Send requests by so many connections for so many seconds."""
    script = bodies.with_name("post.lua")
    script.write_text(SCRIPT)
    command = ["taskset", "--cpu-list", core, "wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", f"{TIMEOUT:g}s", "--script", str(script)]
    command += [f"http://127.0.0.1:{port}{path}", "--", str(bodies)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Load(found["requests"], found["requests"] / found["seconds"], found["p50"], found["p99"], found["failed"])


def post(port: int, path: str, body: bytes) -> tuple[int, bytes, float]:
    """Send one request; give status, body and seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    started = time.perf_counter()
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(), time.perf_counter() - started
    finally:
        connection.close()
