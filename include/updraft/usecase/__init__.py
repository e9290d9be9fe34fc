"""A use case: its YAML and the columns of its suite."""

from updraft.usecase.load import ParsedUseCase as ParsedUseCase
from updraft.usecase.load import check_params as check_params
from updraft.usecase.load import etl_dags as etl_dags
from updraft.usecase.load import file_source as file_source
from updraft.usecase.load import files_of as files_of
from updraft.usecase.load import from_file as from_file
from updraft.usecase.load import load as load
from updraft.usecase.load import no_such_use_case as no_such_use_case
from updraft.usecase.load import parse as parse
from updraft.usecase.load import paths as paths
from updraft.usecase.load import unreadable as unreadable
from updraft.usecase.load import with_params as with_params
from updraft.usecase.schema import BadUseCase as BadUseCase
from updraft.usecase.schema import UseCase as UseCase
