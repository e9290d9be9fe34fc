"""What is to be learned: a use case's YAML and the columns of its suite."""

from updraft.usecase.load import Examined as Examined
from updraft.usecase.load import applied as applied
from updraft.usecase.load import check_params as check_params
from updraft.usecase.load import examine as examine
from updraft.usecase.load import from_file as from_file
from updraft.usecase.load import load as load
from updraft.usecase.load import paths as paths
from updraft.usecase.schema import BadUseCase as BadUseCase
from updraft.usecase.schema import UseCase as UseCase
