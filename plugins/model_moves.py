"""What a person does on the page Models: a form, the proof that it was sent from our page, and the signed move."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request  # not for type checkers only: FastAPI reads the annotations

from links import airflow_url
from updraft.errors import UserError
from updraft.registry import rollouts
from updraft.registry.moves import MAX_WHY, Move
from updraft.registry.registry import PointerMoved, Registry

MAX_FORM = 16 << 10  # bytes
MAX_AGE = 8 * 3600  # seconds for which a page may be sent back
Action = Literal["promote", "rollback", "shadow", "canary", "finish", "abort"]


class Refused(UserError):
    """A form that is not taken; `status` is that of the response."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.FORBIDDEN) -> None:
        super().__init__(message)
        self.status = status


def _reason(text: str) -> str:
    if not text:
        raise ValueError("a reason is needed; it stays in the history")
    return text


class Form(BaseModel):
    """What was sent: what to do, because of what, and the last move that the person saw."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: Annotated[str, Field(max_length=2_000)]
    action: Action
    sequence: Annotated[int, Field(ge=0, le=10**9)]
    version: Annotated[int, Field(ge=1, le=10**9)] | None = None
    percent: Annotated[float, Field(gt=0, le=100)] | None = None
    force: bool = False
    why: Annotated[
        str,
        BeforeValidator(lambda text: " ".join(str(text).split())),
        Field(max_length=MAX_WHY),
        AfterValidator(_reason),
    ]


async def read_body(request: Request) -> bytes:
    """Read the body, up to MAX_FORM bytes; one that is longer is cut, and refused for that."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            break
    return body[: MAX_FORM + 1]


def sent(request: Request, body: bytes) -> dict[str, str]:
    """Return the fields of a form that a browser sent; Refused for anything else."""
    unlike = Refused("expected the form of this page, of 16 kB at most", HTTPStatus.BAD_REQUEST)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded" or len(body) > MAX_FORM:
        raise unlike
    try:
        pairs = parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, errors="replace", max_num_fields=20)
    except ValueError:  # more fields
        raise unlike from None
    return dict(pairs)


def parse_form(fields: Mapping[str, str]) -> Form:
    """Validate the fields; Refused names the first that is wrong."""
    try:
        return Form.model_validate({key: value for key, value in fields.items() if value or key == "why"})
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
        raise Refused(message, HTTPStatus.UNPROCESSABLE_ENTITY) from None


def make_token(user_id: str, name: str) -> str:
    """Return a token for the forms of a use case's page, which is this user's alone."""
    return _signer().dumps([user_id, name])


def require_ours(request: Request, token: str, user_id: str, name: str) -> None:
    """Refuse a form unless the browser says that it comes from this server, and its token is this user's.

    Airflow's login is a cookie, which a browser also sends along with a form of another site. A cookie of `SameSite`
    does not tell apart the sites of one domain; a page of another origin can know no token.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if (site is None and origin is None) or site not in (None, "same-origin") or not _is_here(request, origin):
        raise Refused("the form was not sent from a page of this Airflow; open Models there and try again")
    try:
        whose = _signer().loads(token, max_age=MAX_AGE)
    except BadSignature:
        whose = None
    if whose != [user_id, name]:
        raise Refused("the page is too old, or another user's; here is a new one")


def move(store: Registry, name: str, form: Form, who: str) -> None:
    """Do what the form says; PointerMoved, which says what happened instead, unless it did so or an equal form did."""
    try:
        done = _do(store, name, form, {"who": who, "why": form.why, "expected_sequence": form.sequence})
    except (PointerMoved, UserError) as error:  # its double may also find nothing left to do
        done = store.pointer(name)
        if done and _is(done, form, who):
            return
        if isinstance(error, PointerMoved):
            raise PointerMoved(f"{describe(done)}, after this page was made") from None
        raise
    if done and not _is(done, form, who):  # it was so already: nothing was written
        raise PointerMoved(describe(done))


def describe(last: Move | None) -> str:
    """Say in a sentence what the last move was."""
    if last is None:
        return "there is no move any more"
    version = f" of version {last.version}" if last.version else ""
    return f"the last move is {last.sequence}, {last.action}{version} by {last.who} ({last.why})"


def _do(store: Registry, name: str, form: Form, written: dict[str, Any]) -> Move | None:
    if form.action in ("promote", "shadow", "canary") and form.version is None:
        raise Refused("version: choose one", HTTPStatus.UNPROCESSABLE_ENTITY)
    if form.action == "promote":
        return store.promote(name, form.version or 0, expect=store.production(name), force=form.force, **written)
    if form.action in ("shadow", "canary"):
        percent = form.percent if form.action == "canary" else None
        plan = rollouts.Plan(form.version or 0, form.action, percent)
        return rollouts.start(store, name, plan, force=form.force, **written)
    if form.action == "finish":
        return rollouts.finish(store, name, **written)
    if form.action == "abort":
        rollouts.abort(store, name, **written)
    else:
        store.rollback(name, **written)
    return None  # it was done: otherwise it would have raised


def _is(last: Move, form: Form, who: str) -> bool:
    """Whether a move is what the form asked for: this one, or its double where a person clicked twice."""
    same = (last.sequence, last.action, last.who, last.why) == (form.sequence + 1, form.action, who, form.why)
    return same and (form.version is None or last.version == form.version)


def _is_here(request: Request, origin: str | None) -> bool:
    """Whether an origin, if there is one, is this server's, by the address that was asked or by Airflow's own."""
    if origin is None:
        return True
    own = urlsplit(airflow_url() or "")
    here = {request.headers.get("Host", "").lower(), own.netloc.lower()} - {""}
    return origin.startswith(("http://", "https://")) and urlsplit(origin).netloc.lower() in here


def _signer() -> URLSafeTimedSerializer:
    from airflow.api_fastapi.auth.tokens import get_signing_key

    return URLSafeTimedSerializer(get_signing_key("api", "secret_key"), salt="updraft.models")
