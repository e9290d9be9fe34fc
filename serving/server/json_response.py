"""A response in JSON."""

from __future__ import annotations

import json
from typing import Any

from flask import Response


def json_response(value: Any, **kwargs: Any) -> Response:
    """Answer strict JSON: NaN is none."""
    return Response(json.dumps(value, allow_nan=False), content_type="application/json", **kwargs)
