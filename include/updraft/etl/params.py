"""The parameters of one run of an ETL's DAG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.run_params import Whole
from updraft.usecase import BadUseCase
from updraft.usecase.blocks import Part
from updraft.usecase.messages import validation_messages

DATA_FOLDER = "UPDRAFT_DATA"  # the variable


class EtlParams(Part):
    """The parameters of a run: at most how many rows, and a file in place of the YAML's source."""

    limit: Annotated[Whole, Field(ge=1, lt=2**31)] | None = None
    data: Annotated[str, Field(min_length=1)] | None = None


def check_etl_params(values: dict[str, Any]) -> EtlParams:
    """Validate a run's parameters; raise BadUseCase, which lists the invalid ones."""
    try:
        return EtlParams.model_validate(values, strict=True)
    except ValidationError as error:
        faults = (message for _, message in validation_messages(EtlParams, values, error))
        raise BadUseCase("; ".join(f"run parameter {fault}" for fault in faults)) from None


def file_of(data: str, environ: Mapping[str, str]) -> Path:
    """Return the file that a run names; UserError when it is not below the folder of UPDRAFT_DATA.

    Who may start a run may not read every file of the machine that runs it.
    """
    folder = Path(environ.get(DATA_FOLDER) or ROOT / "data").resolve()
    try:
        path = (folder / data).resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a link to itself
        path = Path("/")
    if not path.is_relative_to(folder):
        raise UserError(f"run parameter data: {data!r} is not below {folder}, the folder that {DATA_FOLDER} names")
    return path
