"""Create Airflow's two users, for the FAB auth manager: `admin`, a person, and `service`, which may start training.

The role of `service` lets it read runs, their tasks, why these failed and the resulting models. The `access_control`
of each training DAG grants it that DAG, and to start it; in FAB this includes pausing and backfilling. Passwords come
from the environment and are reset at each start.
"""

import os
import sys
from typing import Any

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

READS = ("DAG Runs", "Task Instances", "XComs", "Assets")


def main() -> None:
    """Create or update role and users; exit with a message if that fails."""
    role_name = os.environ["UPDRAFT_TRAINER_ROLE"]
    with get_application_builder() as builder:
        security = builder.sm
        role = security.add_role(role_name)
        for resource in READS:
            security.add_permission_to_role(role, security.create_permission("can_read", resource))
        for name, user_role in (("admin", security.find_role("Admin")), ("service", role)):
            set_user(security, name, user_role, os.environ[f"AIRFLOW_{name.upper()}_PASSWORD"])


def set_user(security: Any, name: str, role: Any, password: str) -> None:
    """Create a user with one role, or reset the password and role of the existing one."""
    existing = security.find_user(username=name)
    if existing is None:
        if not security.add_user(name, name, "Updraft", f"{name}@updraft.invalid", role, password):
            sys.exit(f"Airflow's user {name!r} could not be created")
        print(f"created user {name!r} with role {role.name!r}")  # noqa: T201
        return
    security.reset_password(existing.id, password)
    if [existing_role.name for existing_role in existing.roles] != [role.name] and name == "service":
        existing.roles = [role]
        security.update_user(existing)


main()
