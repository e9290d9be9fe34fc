"""The block `notify` of a YAML: who is told of what becomes of the runs of a use case, or of an ETL."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from updraft.usecase.blocks import Names, Part, as_list

Event = Literal["failed", "promoted", "not_promoted", "rolled_back", "quarantine", "question"]
EtlEvent = Literal["failed", "quarantine"]
ConnectionName = Annotated[str, Field(pattern=r"\S")]
MAIL = re.compile(r"[^\s@,<>\"]+@[^\s@,<>\"]+")


def _mailboxes(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("expected one e-mail address or more")
    if wrong := next((name for name in names if not MAIL.fullmatch(name)), None):
        raise ValueError(f"{wrong!r} is not an e-mail address")
    return names


class Slack(Part):
    """A webhook that takes messages in Slack's form: Slack's own, Mattermost's and others'."""

    connection: ConnectionName


class Email(Part):
    """E-mail, by the server of a connection of the type `smtp`."""

    to: Annotated[Names, AfterValidator(_mailboxes)]
    connection: ConnectionName = "smtp_default"


class Receivers(Part):
    """Who is told, and of what: of all, unless `about` names some. Addresses and logins are Airflow connections."""

    slack: Slack | None = None
    email: Email | None = None
    about: tuple[Event, ...] = ()

    @model_validator(mode="after")
    def _require_receiver(self) -> Self:
        if self.slack is None and self.email is None:
            raise ValueError("expected slack or email")
        if not self.about:
            raise ValueError("about: expected one event or more")
        return self


class Notify(Receivers):
    """Who is told of a use case's trainings, and of what its monitor does."""

    about: Annotated[tuple[Event, ...], BeforeValidator(as_list)] = get_args(Event)


class EtlNotify(Receivers):
    """Who is told of an ETL's runs."""

    about: Annotated[tuple[EtlEvent, ...], BeforeValidator(as_list)] = get_args(EtlEvent)
