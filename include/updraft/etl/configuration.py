"""A run's configuration: an ETL's YAML and suite, kept as those of a use case are."""

from __future__ import annotations

from updraft.etl.definitions import files_of, load, no_such_etl
from updraft.etl.schema import Etl
from updraft.stages.configuration import Kind

ETL = Kind[Etl](files_of, load, no_such_etl)
