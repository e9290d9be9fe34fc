"""JSON responses."""

from __future__ import annotations

import json
from typing import Any

from flask import Response


def json_response(value: Any, **kwargs: Any) -> Response:
    """Return `value` as a strict JSON response; ValueError for NaN and Infinity, which JSON does not have."""
    return Response(json.dumps(value, allow_nan=False), content_type="application/json", **kwargs)
