"""The botocore session of all S3 clients of a process.

botocore reads where each service of AWS is, and keeps it all, in `OrderedDict`s: 7 MB. Of what S3 and a login need, as
plain dicts, which keep their order, too, little is left.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import cache
from pathlib import PurePath
from typing import Any

from botocore.loaders import JSONFileLoader
from botocore.session import Session

OPEN: dict[str, Callable[..., Any]] = {".json": open, ".json.gz": gzip.open}
# The others' addresses are never asked for: a login may be exchanged by STS, or come from IAM Identity Center.
SERVICES = {"s3", "sts", "sso", "portal.sso", "sso-oidc", "oidc", "signin"}


class LeanFiles(JSONFileLoader):
    """Reads botocore's data files as plain dicts, and of `endpoints.json` what is for SERVICES."""

    def load_file(self, file_path: str) -> Any:
        """Return the content of a file, named without its extension; None if there is none."""
        for extension, opened in OPEN.items():
            try:
                with opened(f"{file_path}{extension}", "rb") as file:
                    content = json.loads(file.read())
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                continue
            if PurePath(file_path).name == "endpoints":
                _drop_other_services(content)
            return content
        return None


@cache
def session() -> Session:
    """Return the session, which reads AWS's variables and files as botocore's own does."""
    made = Session()
    made.get_component("data_loader").file_loader = LeanFiles()
    return made


def _drop_other_services(endpoints: dict[str, Any]) -> None:
    for partition in endpoints.get("partitions", []):
        services = partition.get("services", {})
        partition["services"] = {name: services[name] for name in services if name in SERVICES}
