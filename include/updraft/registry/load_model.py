"""Load a model out of the registry in a line of Python, as model cards show it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from updraft.model.version_files import MODEL, SIGNATURE
from updraft.registry.registry import NoSuchVersion, open_registry

if TYPE_CHECKING:
    from updraft.model.model import Model


def load_model(use_case: str, version: int | None = None) -> Model:
    """Load a version, the one in production unless another is named; its signature and hashes are verified first.

    The registry is the environment's: UPDRAFT_REGISTRY, UPDRAFT_VERIFY_KEY and AWS's own variables. Raises
    NoSuchVersion and VerificationError.
    """
    from updraft.model.model import Model

    registry = open_registry(os.environ)
    number = version or registry.production(use_case)
    if number is None:
        raise NoSuchVersion(f"{use_case}: nothing is in production")
    files = registry.read(use_case, number, (MODEL, SIGNATURE))
    return Model.from_bytes(files[SIGNATURE], files[MODEL])
