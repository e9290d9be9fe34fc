"""Certificates for Dask's `tls://` addresses, which Dask's own settings name: what is wrong with them, in one line."""

from __future__ import annotations

import ssl
from pathlib import Path

import dask
from distributed.security import Security

from updraft.errors import UserError

PREFIX = "DASK_DISTRIBUTED__COMM__TLS__"
AUTHORITY, CERTIFICATE, KEY = (f"{PREFIX}{name}" for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY"))
NO_TLS = "no connection by TLS, which it may not speak; expected tcp:// then"
SETTINGS = {AUTHORITY: "ca-file", CERTIFICATE: "client.cert", KEY: "client.key"}


def security(url: str, origin: str) -> Security:
    """Return what Dask needs for an address; UserError where certificates are missing or cannot be used."""
    settings, place = Security(), f"{origin}: {url}"
    if not url.startswith("tls://"):
        if settings.require_encryption:
            raise UserError(f"{place} is not encrypted, and Dask's configuration requires that it is; expected tls://")
        return settings
    values = {variable: dask.config.get(f"distributed.comm.tls.{name}") for variable, name in SETTINGS.items()}
    missing = [variable for variable in (AUTHORITY, CERTIFICATE) if not values[variable]]
    if missing:
        meaning = "the files of the cluster's authority and of this client's certificate and key"
        raise UserError(
            f"{place}: {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not set; "
            f"expected {AUTHORITY}, {CERTIFICATE} and {KEY}, {meaning}"
        )
    for variable, value in values.items():
        if value and "\n" not in value:  # Dask takes the certificate itself, too
            try:
                Path(value).read_bytes()
            except OSError as error:
                raise UserError(f"{place}: {variable}: cannot read {value}: {error.strerror}") from None
    try:
        settings.get_connection_args("client")
    except ssl.SSLError as error:
        named = ", ".join(variable for variable in values if values[variable])
        hint = "" if values[KEY] else f"; {KEY} is not set, and the key may be missing"
        raise UserError(
            f"{place}: {named}: no usable certificate and key in PEM: {' '.join(str(error).split())}{hint}"
        ) from None
    return settings


def refusal(error: BaseException) -> str:
    """Say in words what TLS found fault with on either side; empty where it was something else."""
    seen: BaseException | None = error
    while seen and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    if isinstance(seen, ssl.SSLCertVerificationError):
        return f"its certificate is not one of the authority in {AUTHORITY}: {seen.verify_message}"
    message = " ".join(str(seen or error).split())
    if not seen and "SSLError" not in message:  # the scheduler's alert reaches us as text, at times
        return ""
    if "ALERT" in message:
        return f"it refuses the certificate in {CERTIFICATE}: {message}"
    if "EOF" in message:  # the alert that would say which of the two may come too late
        return f"it refuses the certificate in {CERTIFICATE}, or it does not speak TLS; expected tcp:// then: {message}"
    return f"{NO_TLS}: {message}"
