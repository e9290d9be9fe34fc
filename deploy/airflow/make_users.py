"""Make Airflow's two users, for the FAB auth manager: `admin`, a person, and `service`, which may start training.

The role of `service` lets it look at runs, their tasks and the models that came of them. Which DAGs these may be of,
and that it may start them, is in each training DAG's own `access_control`; who may start one may, in FAB's terms, also
pause it and backfill it. Passwords come from the environment and are set anew at each start.
"""

import os
import sys
from typing import Any

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

READS = ("DAG Runs", "Task Instances", "Assets")


def main() -> None:
    """Make or mend roles and users; exits with what is wrong."""
    role_name = os.environ["UPDRAFT_TRAINER_ROLE"]
    with get_application_builder() as builder:
        security = builder.sm
        role = security.add_role(role_name)
        wanted = [security.create_permission("can_read", resource) for resource in READS]
        for permission in wanted:
            security.add_permission_to_role(role, permission)
        for name, has in (("admin", security.find_role("Admin")), ("service", role)):
            user(security, name, has, os.environ[f"AIRFLOW_{name.upper()}_PASSWORD"])


def user(security: Any, name: str, role: Any, password: str) -> None:
    """Make a user with one role, or give the one that is there this password and role."""
    found = security.find_user(username=name)
    if found is None:
        if not security.add_user(name, name, "Updraft", f"{name}@updraft.invalid", role, password):
            sys.exit(f"Airflow's user {name!r} could not be made")
        print(f"made user {name!r} with role {role.name!r}")  # noqa: T201
        return
    security.reset_password(found.id, password)
    if [each.name for each in found.roles] != [role.name] and name == "service":
        found.roles = [role]
        security.update_user(found)


main()
