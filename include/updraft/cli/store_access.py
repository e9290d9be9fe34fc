"""Addresses of stores from the environment; one that leads to a local stack is used only while that runs."""

from __future__ import annotations

import os

from updraft.addresses import Address, from_environment
from updraft.local_stack.environment import home_folder
from updraft.local_stack.stores import STORES, check_stores


def find_address(connection: str, variable: str) -> Address:
    """Return an address from the environment; StackError when it leads to a local stack that is down."""
    require_running(*(store for store, (name, _) in STORES.items() if name == variable))
    return from_environment(os.environ)(connection, variable)


def require_running(*stores: str) -> None:
    """Raise StackError when one of these stores is the local stack's and down."""
    check_stores(os.environ, home_folder(os.environ), *stores)
