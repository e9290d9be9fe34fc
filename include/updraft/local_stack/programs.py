"""The programs of the local stack: their commands, their order, and the environment that each of them gets."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from updraft.defaults import ROOT
from updraft.local_stack import postgres
from updraft.local_stack.environment import OPTIONAL_PORTS, OTHER_LOGINS, OTHER_PASSWORD, embedded
from updraft.local_stack.servers import FILER_KEYS, HOST, mongod_command, weed_command, weed_ports
from updraft.local_stack.supervision import Program

# The programs that each one waits for, in the order in which they are shown.
AFTER: dict[str, tuple[str, ...]] = {
    "mongod": (),
    "s3": (),
    "postgres": (),
    "kafka": (),
    "mlflow-install": (),
    "mlflow": ("mlflow-install",),
    "migrate": (),
    "api-server": ("migrate",),
    "scheduler": ("migrate",),
    "dag-processor": ("migrate",),
    "triggerer": ("migrate",),
    "serving": ("s3",),
    "shipper": ("s3",),
}
PUBLIC_PORTS = {"api-server": "AIRFLOW_PORT", "serving": "SERVING_PORT", "mongod": "MONGODB_PORT", "s3": "S3_PORT"} | {
    store: port for store, (port, _) in OPTIONAL_PORTS.items()
}
STORES = ("mongod", "s3", *OPTIONAL_PORTS)
SIGNING = "UPDRAFT_SIGNING_KEY"  # only where pointers move: in tasks, and on a page of the API server
TRACKER = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SECRET_NAMES = (
    "MONGODB_URL",
    "SQL_URL",
    "KAFKA_URL",
    SIGNING,
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    *FILER_KEYS,
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW_PASSWORD",
    "SERVING_API_KEYS",
    "SERVING_TRAIN_TOKEN",
    *TRACKER,
)
AIRFLOW_NEEDS = ("MONGODB_", "SQL_", "KAFKA_", "AWS_", "AIRFLOW__")


def program_names(settings: Mapping[str, str]) -> list[str]:
    """Return the names of the stack's programs, without the stores that are elsewhere or not asked for.

    Predictions are not shipped where the S3 is another one, and no place there is named.
    """
    own = embedded(settings)
    absent = {store for store in STORES if store not in own}
    absent |= set() if "mlflow" in own else {"mlflow-install"}
    absent |= set() if settings.get("SERVING_PREDICTIONS") else {"shipper"}
    return [name for name in AFTER if name not in absent]


def programs(home: Path, settings: Mapping[str, str]) -> list[Program]:
    """Return the programs of the stack in `home`."""

    def airflow(name: str, *words: str, once: bool = False) -> Program:
        command = [sys.executable, "-m", "airflow", *words]
        needed = (*AIRFLOW_NEEDS, SIGNING, *TRACKER) if name in ("scheduler", "api-server") else AIRFLOW_NEEDS
        return Program(name, command, home / "airflow", once=once, environment=_all_but(*needed))

    web = ["--host", HOST, "--port", settings["SERVING_PORT"], "--workers", "1", "--workers-kill-timeout", "5"]
    web += ["--http", "1", "--http1-header-read-timeout", "5000", "--backlog", "4096", "--backpressure", "4096"]
    granian = [sys.executable, "-m", "granian", "--interface", "rsgi", "--no-ws", *web, "serving.wsgi:rsgi_app"]
    return [
        *_stores(home, settings),
        airflow("migrate", "db", "migrate", once=True),
        airflow("api-server", "api-server"),
        # Their log servers listen on all interfaces; on one machine the API server reads the files.
        airflow("scheduler", "scheduler", "--skip-serve-logs"),
        airflow("dag-processor", "dag-processor"),
        airflow("triggerer", "triggerer", "--skip-serve-logs"),
        # It verifies and never signs, and trains with a user of its own.
        Program("serving", granian, ROOT, environment=_all_but("AWS_", "AIRFLOW_PASSWORD", "SERVING_")),
        Program("shipper", [sys.executable, "-m", "serving.shipper"], ROOT, environment=_all_but("AWS_")),
    ]


def child_environment(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the stack's processes: the user's, overridden by the stack's settings."""
    environment = dict(environ) | dict(settings)
    left_out = {OTHER_PASSWORD, *(OTHER_LOGINS if "s3" in embedded(settings) else ())}
    no_proxy = ",".join(filter(None, [environ.get("NO_PROXY"), settings["NO_PROXY"]]))
    environment["NO_PROXY"] = environment["no_proxy"] = no_proxy
    return {name: value for name, value in environment.items() if name not in left_out}


def _stores(home: Path, settings: Mapping[str, str]) -> list[Program]:
    own = embedded(settings)
    stores = []
    if "mongod" in own:
        command = mongod_command(home / "mongodb", int(settings["MONGODB_PORT"]), auth=True)
        stores.append(Program("mongod", command, home / "mongodb", "stores", 20, environment=_all_but()))
    if "s3" in own:
        command = weed_command(home / "s3", _weed_ports(settings))
        stores.append(Program("s3", command, home / "s3", "stores", 10, environment=_all_but("AWS_", *FILER_KEYS)))
    if "postgres" in own:
        postgres.find_programs()
        command = [sys.executable, "-m", postgres.__name__, str(home), settings["POSTGRES_PORT"]]
        stores.append(Program("postgres", command, ROOT, "stores", 20, "INT", environment=_all_but()))
    if "kafka" in own:
        command = [sys.executable, "-m", "updraft.local_stack.kafka", settings["KAFKA_PORT"]]
        stores.append(Program("kafka", command, ROOT, "stores", environment=_all_but()))
    if "mlflow" in own:
        command = [sys.executable, "-m", "updraft.local_stack.mlflow"]
        steps = {"mlflow-install": ["install", str(home)], "mlflow": ["serve", str(home), settings["MLFLOW_PORT"]]}
        for name, words in steps.items():
            once = name == "mlflow-install"
            stores.append(Program(name, [*command, *words], ROOT, "stores", once=once, environment=_all_but()))
    return stores


def _all_but(*needed: str) -> dict[str, str]:
    """Blank the secrets that a program does not need: whoever reads its memory finds no more than it uses."""
    return {name: "" for name in SECRET_NAMES if not name.startswith(needed)}


def _weed_ports(settings: Mapping[str, str]) -> dict[str, int]:
    """Choose SeaweedFS's internal ports, none of them one of the public ports."""
    public = {int(settings[name]) for name in PUBLIC_PORTS.values() if name in settings}
    while True:
        ports = weed_ports(int(settings["S3_PORT"]))
        if not public & {port for name, port in ports.items() if name != "s3"}:
            return ports
