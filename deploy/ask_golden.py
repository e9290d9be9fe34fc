"""Ask a service for its golden rows over HTTP, and compare: run inside its container, it needs Python alone.

    docker exec -i CONTAINER python - <deploy/ask_golden.py

The rows and the scores that were recorded for them at evaluation lie beside each version in the service's cache. Exits
with 1 and one line when an answer differs. The rows are predicted as any others, so the prediction log has them too.
"""

import json
import math
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

RTOL, ATOL = 1e-6, 1e-9  # as when the service loads a version
URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5000"


def headers() -> dict[str, str]:
    """Return what a request needs where the service has API keys, or serves some hosts alone."""
    listed = os.environ.get("SERVING_API_KEYS", "")
    if path := os.environ.get("SERVING_API_KEYS_FILE"):
        listed = Path(path).read_text(encoding="utf-8")
    keys = [line.partition(":")[2].strip() for line in listed.splitlines() if ":" in line]
    hosts = [host.strip() for host in os.environ.get("SERVING_HOSTS", "").split(",") if host.strip()]
    found = {"Content-Type": "application/json"}
    if keys:
        found["Authorization"] = f"Bearer {keys[0]}"
    if hosts:
        found["Host"] = f"golden{hosts[0]}" if hosts[0].startswith(".") else hosts[0]
    return found


def ask(path: str, body: dict | None = None) -> dict:
    """Return a JSON answer; exit with the service's own words when it refuses."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, headers())  # noqa: S310  # the address is ours
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: status {error.code}: {error.read(500).decode(errors='replace')}")
    except (OSError, ValueError) as error:
        sys.exit(f"{path}: {error}")


def golden_of(name: str, version: int) -> dict:
    """Read what was recorded for a version."""
    home = os.environ.get("UPDRAFT_HOME")
    default = Path(home) / "serving" if home else Path.home() / ".cache/updraft/serving"
    cache = Path(os.environ.get("SERVING_CACHE") or default)
    try:
        return json.loads((cache / name / f"{version:04d}" / "golden.json").read_bytes())
    except (OSError, ValueError) as error:
        sys.exit(f"{name} version {version}: no golden rows: {error}")


def scores_in(answer: dict) -> list[list[float]]:
    """Return the scores of each row: of the positive label, of each label, or the number that was predicted."""
    found = answer.get("probabilities") or answer["predictions"]
    return [list(each.values()) if isinstance(each, dict) else [each] for each in found]


def check(name: str, version: int) -> int:
    """Compare the answers for a use case's golden rows; return their number."""
    golden = golden_of(name, version)
    if not golden["rows"]:
        return 0
    answer = ask(f"/predict/{name}", {"rows": golden["rows"]})
    if answer["version"] != version:
        sys.exit(f"{name}: version {answer['version']} answered, expected {version}: promoted meanwhile; try again")
    expected = [each if isinstance(each, list) else [each] for each in golden["scores"]]
    for number, (old, new) in enumerate(zip(expected, scores_in(answer), strict=True)):
        if not all(math.isclose(a, b, rel_tol=RTOL, abs_tol=ATOL) for a, b in zip(old, new, strict=True)):
            sys.exit(f"{name} version {version}: golden row {number}: expected {old}, the service answers {new}")
    return len(expected)


for name, version in ask("/readyz")["versions"].items():
    print(f"{name} version {version}: {check(name, version)} golden rows are answered as recorded")  # noqa: T201
