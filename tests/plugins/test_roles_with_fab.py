"""Who sees and does what where Airflow has FAB's auth manager, as in the Docker stack: FAB's roles, and the service's.

`test_models_page.py` and `test_approval.py` have the same for the simple auth manager.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from http import HTTPStatus

import pytest
import requests

from tests.plugins.test_models_page import Browser
from tests.support.airflow_server import FAB_ROLES, LIVE, AirflowServer, FabAirflowServer, airflow_server
from tests.support.measured_versions import push_measured
from updraft.local_stack.credentials import ADMIN, SERVICE
from updraft.registry.registry import Registry, open_registry

DAG, RUN = f"train_{LIVE}", "a_run"
MAY_MOVE = ("User", "Op", ADMIN)
USERS = (*FAB_ROLES, ADMIN, SERVICE)


@pytest.fixture(scope="module")
def fab(
    starts_airflow: None, s3: dict[str, str], key_files: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowServer]:
    """Yield an api-server with three versions of a use case, the first of which is in production, and a queued run."""
    environ = {**s3, **key_files, "UPDRAFT_REGISTRY": f"s3://updraft-tests/{secrets.token_hex(6)}"}
    store = open_registry(environ)
    push_measured(store, LIVE, tmp_path_factory.mktemp("models"), [0.31, 0.33, 0.36], [None, 1, 1])
    store.promote(LIVE, 1, expect=None, who="a test", why="the first")
    with airflow_server(tmp_path_factory.mktemp("fab"), environ, FabAirflowServer) as server:
        server.admin.unpause(DAG)
        server.admin.trigger(DAG, RUN)
        yield server


@pytest.fixture
def store(fab: AirflowServer) -> Registry:
    return open_registry(fab.environ)


def ask(fab: AirflowServer, user: str, method: str, path: str, **content: object) -> int:
    """Return the status of a request to Airflow's REST API."""
    headers = {"Authorization": f"Bearer {fab.token(user)}"}
    url = f"{fab.url}/api/v2/dags/{DAG}/{path}"
    return requests.request(method, url, json=content or None, headers=headers, timeout=60).status_code


@pytest.mark.parametrize("user", USERS)
def test_who_may_see_runs_sees_the_models(fab: AirflowServer, user: str) -> None:
    browser = Browser(fab, user)
    assert f"{DAG}" in browser.get().text
    page = browser.get(LIVE)
    assert page.status_code == HTTPStatus.OK
    assert ("<form" in page.text, "You may look" in page.text) == (user in MAY_MOVE, user not in MAY_MOVE)
    card = browser.session.get(f"{fab.url}/updraft/versions/{DAG}/3", timeout=60)
    assert card.status_code == HTTPStatus.OK, card.url


@pytest.mark.parametrize("user", MAY_MOVE)
def test_who_may_answer_questions_moves_versions_in_their_own_name(
    fab: AirflowServer, store: Registry, user: str
) -> None:
    browser, before = Browser(fab, user), store.production(LIVE)
    version = 2 if before == 3 else 3
    answer = browser.post(LIVE, browser.form(LIVE, action="promote", version=version, why=f"{user} likes it"))
    assert answer.status_code == HTTPStatus.SEE_OTHER, answer.text
    last = store.history(LIVE)[-1]
    assert (last.production, last.who, last.why) == (version, f"{user} (Airflow)", f"{user} likes it")


@pytest.mark.parametrize("user", ["Viewer", SERVICE])
def test_nobody_else_moves_them(fab: AirflowServer, store: Registry, user: str) -> None:
    """Not even with the form of an administrator."""
    before = store.pointer(LIVE)
    form = Browser(fab, ADMIN).form(LIVE, action="promote", version=2)
    assert Browser(fab, user).post(LIVE, form).status_code == HTTPStatus.FORBIDDEN
    assert store.pointer(LIVE) == before


@pytest.mark.parametrize("user", USERS)
def test_who_may_answer_the_question_of_approve(fab: AirflowServer, user: str) -> None:
    """It was not asked yet: who may answer is told so, and who may not is refused before."""
    path = f"dagRuns/{RUN}/taskInstances/approve/-1/hitlDetails"
    answered = ask(fab, user, "PATCH", path, chosen_options=["promote"], params_input={"reason": "good"})
    assert answered == (HTTPStatus.NOT_FOUND if user in MAY_MOVE else HTTPStatus.FORBIDDEN)


@pytest.mark.parametrize("user", USERS)
def test_who_may_start_a_training(fab: AirflowServer, user: str) -> None:
    started = ask(fab, user, "POST", "dagRuns", dag_run_id=f"of_{user}", logical_date=None)
    assert started == (HTTPStatus.FORBIDDEN if user == "Viewer" else HTTPStatus.OK)


def test_who_is_not_logged_in_sees_nothing(fab: AirflowServer) -> None:
    for path in ("/updraft/models", f"/updraft/models/{DAG}", f"/updraft/versions/{DAG}/3"):
        assert requests.get(fab.url + path, timeout=60).status_code == HTTPStatus.UNAUTHORIZED
