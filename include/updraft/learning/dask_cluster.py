"""Connect to a Dask cluster, and refuse one whose workers would not make the same model."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from distributed import Client

from updraft.addresses import Address, Connections, variable_of
from updraft.errors import UserError
from updraft.learning.dask_tls import NO_TLS, refusal, security
from updraft.usecase.engine_block import EngineBlock

log = logging.getLogger(__name__)

VARIABLE = "DASK_URL"  # of the default connection
EXPECTED = "expected tcp://host:8786 or tls://host:8786, the address of Dask's scheduler"
SECONDS = 15  # to answer, and to have a worker
# Other versions of these may make other models, or cannot read what is sent.
PACKAGES = ("scikit-learn", "numpy", "scipy", "pandas", "joblib", "dask", "distributed", "updraft")


class ClusterError(ConnectionError):
    """The cluster does not answer or has lost its workers; it may work later."""


class OtherVersions(UserError):
    """A worker has other versions of what decides about a model's bytes."""


@contextmanager
def connect(engine: EngineBlock, connections: Connections) -> Iterator[Client]:
    """Yield a client of the cluster that an engine names, which has workers of our own versions.

    Raises UserError for an address that is none, ClusterError where nothing answers there or nothing works there, and
    OtherVersions.
    """
    is_default = engine.connection == EngineBlock().connection
    address = connections(engine.connection, VARIABLE if is_default else variable_of(engine.connection))
    client = _open(address)
    try:
        _require_workers(client, address)
        require_same_versions(client)
        yield client
    finally:
        client.close(timeout=SECONDS)


def _open(address: Address) -> Client:
    url = _checked(address)
    certificates = security(url, address.origin)
    gc.collect()  # former clients: one that is collected while another starts waits for it, and it for that one
    try:
        return Client(url, timeout=SECONDS, set_as_default=False, name="updraft", security=certificates)
    except (OSError, TimeoutError) as error:
        place = f"{address.origin}: Dask's scheduler at {url}"
        if fault := refusal(error):
            raise UserError(f"{place}: {fault}") from None
        hint = ""
        if url.startswith("tcp://") and isinstance(error.__cause__, ConnectionResetError):
            hint = "; one that has certificates answers tls:// alone"
        raise ClusterError(f"{place} does not answer: {' '.join(str(error).split())}{hint}") from None
    except ValueError as error:  # of Tornado, where something answers before the handshake
        raise UserError(f"{address.origin}: Dask's scheduler at {url}: {NO_TLS}: {error}") from None


def _checked(address: Address) -> str:
    """Return the URL of an address; UserError where it is none of a scheduler, without what may be a password."""
    if not address.url:
        raise UserError(f"engine: dask: {address.origin} is not set; {EXPECTED}")
    try:
        url = urlsplit(address.url)
        usable = url.scheme in ("tcp", "tls") and url.hostname and url.port and not url.username and not url.password
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        shown = "what it holds" if "@" in address.url else repr(address.url)
        raise UserError(f"engine: dask: {address.origin}: {shown} is no such address; {EXPECTED}, without a login")
    return f"{url.scheme}://{url.netloc}"


def _require_workers(client: Client, address: Address) -> None:
    try:
        client.wait_for_workers(1, timeout=SECONDS)
    except TimeoutError:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        paused = sum(each["status"] == "paused" for each in workers)
        reason = f"; {paused} lack memory, so that Dask has paused them" if paused else ""
        place = f"Dask's scheduler at {client.scheduler.address}"
        raise ClusterError(f"{address.origin}: {place} has no workers after {SECONDS} s{reason}") from None


def require_same_versions(client: Client) -> None:
    """Raise OtherVersions, with names and numbers, where the scheduler or a worker has others than this process."""
    versions = client.get_versions(packages=PACKAGES)
    ours = versions["client"]["packages"]
    # The scheduler, too, reads what is sent to workers.
    others = {"the scheduler": versions["scheduler"]}
    others |= {f"worker {worker}": theirs for worker, theirs in sorted(versions["workers"].items())}
    differences = [
        f"{who}: {name} {theirs['packages'].get(name) or 'is missing'}, and here {ours[name] or 'missing'}"
        for who, theirs in others.items()
        for name in ("python", *PACKAGES)
        if theirs["packages"].get(name) != ours[name]
    ]
    if differences:
        hint = "scheduler and workers have to run the image, or the environment, of the tasks"
        raise OtherVersions(f"engine: dask: {'; '.join(differences[:6])}{' …' if differences[6:] else ''}; {hint}")


def on_each_worker(client: Client, function: Any) -> dict[str, Any]:
    """Return by worker what a function of Updraft returns there."""
    results: dict[str, Any] = client.run(function, on_error="return")
    for worker, result in sorted(results.items()):
        if isinstance(result, ImportError | AttributeError):
            raise OtherVersions(f"engine: dask: worker {worker} has another Updraft: {result}")
        if isinstance(result, BaseException):
            raise ClusterError(f"Dask's worker {worker} does not answer: {type(result).__name__}: {result}")
    if not results:
        raise ClusterError("Dask's cluster has lost all its workers")
    return results
