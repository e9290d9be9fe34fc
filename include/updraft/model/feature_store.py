"""`FeatureStore`: where a service looks up the columns that a request leaves out; a part of the signed signature."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from updraft.model.columns import DATE, Column, Value, quoted

IN_STORE = ", in the feature store"  # ends a message about a value that is not the caller's
EPOCH, NO_DATE = datetime(1970, 1, 1), -(2**63)  # Feast has dates as whole seconds, and this one for null


def check_url(url: str) -> str:
    """Return the address of a feature server; ValueError for another scheme, a login, a query or a fragment."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        raise ValueError("expected http://host:6566 or https://host, found a URL that cannot be parsed") from None
    if "@" in parts.netloc:
        raise ValueError("the URL has a login, which does not belong here: set SERVING_FEATURES_TOKEN for the service")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise ValueError(f"{url!r} is no address of a feature server, expected http://host:6566 or https://host")
    if parts.query or parts.fragment or any(character.isspace() for character in url):
        raise ValueError(f"{url!r} has a query, a fragment or a space, expected http://host:6566 or https://host")
    return url.rstrip("/")


StoreUrl = Annotated[str, AfterValidator(check_url)]
Timeout = Annotated[float, Field(gt=0, le=10)]


class FeatureStore(BaseModel):
    """A Feast feature server, the column `entity` whose value is the key there, and the `columns` of `view` it has."""

    model_config = ConfigDict(frozen=True)

    url: StoreUrl
    entity: Column
    view: str
    columns: tuple[str, ...]
    timeout_seconds: Timeout


def read_stored(column: Column, value: Any) -> Value | datetime | None:
    """Return a value of the feature store as the column's type; raises ValueError where it does not fit.

    Dates are whole seconds since 1970 or ISO 8601.
    """
    if isinstance(value, float) and math.isnan(value):
        return None
    if column.type != DATE or isinstance(value, bool) or not isinstance(value, (int, float)):
        return column.convert(value)
    try:
        return None if value == NO_DATE else EPOCH + timedelta(seconds=value)
    except OverflowError:
        raise ValueError(f"{quoted(value)} is out of the calendar's range") from None
