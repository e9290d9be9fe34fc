"""A file that a browser uploads from a form."""

from __future__ import annotations

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from serving.server.limits import in_words

FIELD = "rows"  # of the form
OVERHEAD = 16 << 10  # bytes of a form around its file
MEDIA_TYPE = "multipart/form-data"


def read(request: Request, limit: int) -> bytes:
    """Return the uploaded file. Raises UnsupportedMediaType, BadRequest, RequestEntityTooLarge above `limit` bytes."""
    if request.mimetype != MEDIA_TYPE:
        raise UnsupportedMediaType(f"Expected {MEDIA_TYPE} with a file named {FIELD}.")
    request.max_content_length = limit + OVERHEAD
    request.max_form_parts = 10
    file = request.files.get(FIELD)
    if file is None or not file.filename:
        raise BadRequest("No file was chosen.")
    content: bytes = file.read(limit + 1)
    if len(content) > limit:
        raise RequestEntityTooLarge(f"The file is larger than {in_words(limit)}.")
    return content
