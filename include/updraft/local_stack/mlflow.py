"""MLflow in an environment of its own in the stack's folder: its packages are none of ours.

`python -m updraft.local_stack.mlflow install HOME` and `… serve HOME PORT` are programs of the stack in HOME.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from updraft.local_stack.servers import HOST, ServerError

REQUIREMENT = "mlflow>=3.17,<4"
DATABASE = "sqlite:///mlflow.db"  # in the folder in which the server runs
HIDDEN = ("MLFLOW_TRACKING_", "PYTHONPATH", "VIRTUAL_ENV")  # ours, and none of the server's business


def folder(home: Path) -> Path:
    """Return where the stack in `home` keeps MLflow's packages, its database and its artifacts."""
    return home / "mlflow"


def install(home: Path) -> None:
    """Make the environment where there is none, or one of another REQUIREMENT. Raises ServerError."""
    environment, made = folder(home) / "environment", folder(home) / "installed.txt"
    if made.is_file() and made.read_text(encoding="utf-8") == REQUIREMENT:
        return
    if find_spec("uv") is None:
        raise ServerError("mlflow: uv, which installs it, is not in this environment; run `make`")
    sys.stdout.write(f"Installing {REQUIREMENT} into {environment}, once; a minute or two …\n")
    sys.stdout.flush()
    made.unlink(missing_ok=True)
    uv = [sys.executable, "-m", "uv"]
    _run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)], home)
    _run([*uv, "pip", "install", "--python", str(_python(home)), REQUIREMENT], home)
    if (folder(home) / "mlflow.db").exists():  # written by another version
        _run([str(_python(home)), "-m", "mlflow", "db", "upgrade", DATABASE], home)
    made.write_text(REQUIREMENT, encoding="utf-8")


def server_command(home: Path, port: int) -> list[str]:
    """Return the command of a server on 127.0.0.1, which asks for no login; it runs in `folder(home)`."""
    stores = ["--backend-store-uri", DATABASE, "--artifacts-destination", str(folder(home) / "artifacts")]
    where = ["--host", HOST, "--port", str(port), "--workers", "1"]
    return [str(_python(home)), "-m", "mlflow", "server", *where, *stores]


def server_environment() -> dict[str, str]:
    """Return this process's environment without what is ours, and with what keeps MLflow from calling home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def _python(home: Path) -> Path:
    return folder(home) / "environment" / "bin" / "python"


def _run(command: list[str], home: Path) -> None:
    done = subprocess.run(command, cwd=folder(home), env=server_environment(), check=False)
    if done.returncode:
        raise ServerError(
            f"mlflow: {REQUIREMENT} could not be installed, as said above; it takes a network, or a full cache of uv. "
            "`make up WITH=` starts the stack without it"
        )


def main(verb: str, home: Path, port: str = "") -> None:
    """Install MLflow, or become its server."""
    folder(home).mkdir(mode=0o700, exist_ok=True)
    if verb == "install":
        install(home)
        return
    os.chdir(folder(home))
    command = server_command(home, int(port))
    os.execve(command[0], command, server_environment())  # noqa: S606


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
    except ServerError as error:
        sys.exit(str(error))
