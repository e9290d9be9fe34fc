"""One canary for each private or undocumented interface of a library that the code leans on.

When a canary fails after an upgrade, the code that its docstring names is wrong, even where no other test fails. The
docstring also says what to do there.
"""

from __future__ import annotations

import inspect
import pickle
import re
import signal
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib.numpy_pickle import NumpyPickler
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from updraft.defaults import ROOT
from updraft.stages.suite_run import _no_fingerprint


def test_scikit_learn_checks_parameters_before_it_fits() -> None:
    """`stages/check.py` calls `_validate_params` to check the parameters of a YAML without rows.

    When it is gone: fit each estimator on the four rows of a small frame there instead; `fit` checks them first.
    """
    RandomForestClassifier(n_estimators=10)._validate_params()
    with pytest.raises(ValueError, match="n_estimators"):
        RandomForestClassifier(n_estimators=-1)._validate_params()


def test_scikit_learn_names_its_error_of_a_wrong_parameter() -> None:
    """`stages/train.py` knows the error by its class's name, because scikit-learn does not export the class.

    When the name is another: write the new one there. Until then a wrong parameter ends in a traceback.
    """
    with pytest.raises((ValueError, TypeError)) as caught:
        LogisticRegression(C=-1.0).fit([[0.0], [1.0]], [0, 1])
    assert type(caught.value).__name__ == "InvalidParameterError"


def test_great_expectations_hashes_no_frame_above_its_threshold() -> None:
    """`stages/suite_run.py` sets `HASH_THRESHOLD` to 0: a hash takes several times the memory of the columns it is of.

    When it is gone or without effect: see in `get_batch_data_and_markers` what decides now, or leave `_no_fingerprint`
    out, and measure `validate` by `make bench GROWTH=1`.
    """
    from great_expectations.core.batch_spec import RuntimeDataBatchSpec
    from great_expectations.execution_engine import PandasExecutionEngine

    def markers() -> set[str]:
        spec = RuntimeDataBatchSpec(batch_data=pd.DataFrame({"a": [1]}))
        return set(PandasExecutionEngine().get_batch_data_and_markers(spec)[1])

    assert "pandas_data_fingerprint" in markers()
    with _no_fingerprint(unless=False):
        assert markers() == {"ge_load_time"}
    assert "pandas_data_fingerprint" in markers()


def test_python_parses_a_regular_expression_to_pairs_of_code_and_value() -> None:
    """`regex_texts.py` draws texts from what `re._parser.parse` returns: pairs of a named code and a value.

    When the module has moved: import it from its new place. When a code is new or named otherwise: add a case to
    `_Writer._part` or `_holds`; the documentation of `re` says what a pattern means.
    """
    parser: Any = vars(re)["_parser"]
    parsed = list(parser.parse(r"^a.[b-d\d]{2,3}(?P<x>e|f)(?P=x)[^g]?+(?>h)"))
    assert [code.name for code, _ in parsed] == [
        *("AT", "LITERAL", "ANY", "MAX_REPEAT", "SUBPATTERN", "GROUPREF", "POSSESSIVE_REPEAT", "ATOMIC_GROUP"),
    ]
    least, most, repeated = parsed[3][1]
    assert (least, int(most)) == (2, 3)
    [(code, items)] = repeated
    assert (code.name, [item.name for item, _ in items]) == ("IN", ["RANGE", "CATEGORY"])
    assert str(items[1][1].name) == "CATEGORY_DIGIT"
    assert parser.parse("[^g]")[0][0].name == "NOT_LITERAL"


def test_prometheus_reads_a_counter_file_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    """`serving/metrics.py` reads each file through `MmapedDict` at a start, so that a damaged one is replaced.

    When the class or the file's form is another: change `_read` there; its first 4 bytes are how many bytes are used,
    counted from the file's begin, and what is not used is zeros, so that `prepare` may allocate a file beforehand.
    """
    path = tmp_path / "counter_00.db"
    path.write_bytes(bytes(2**16))
    counts = MmapedDict(str(path))
    counts.write_value("name", 3.0, 1.0)
    counts.close()
    used = int.from_bytes(path.read_bytes()[:4], "little")
    assert 8 < used < 200
    assert [(key, value) for key, value, *_ in MmapedDict.read_all_values_from_file(str(path))] == [("name", 3.0)]
    path.write_bytes(path.read_bytes()[:8] + (1000).to_bytes(4, "little") + bytes(100))
    with pytest.raises(RuntimeError, match="corrupted"):
        list(MmapedDict.read_all_values_from_file(str(path)))


def test_prometheus_names_a_counter_file_by_the_number_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serving/wsgi.py` sets `values.ValueClass`, so that a worker's files are named by its number, not by its process.

    When files are named otherwise: change `_counters` there and `prepare` in `serving/metrics.py`. Until then each
    restart of a worker leaves a file behind.
    """
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    value = values.MultiProcessValue(lambda: "07")("counter", "rows", "rows_total", ["use_case"], ["a"], "Rows.")
    value.inc(2)
    assert [path.name for path in tmp_path.iterdir()] == ["counter_07.db"]
    assert hasattr(values, "ValueClass")


def test_joblibs_pickler_is_pythons_own_with_a_table_of_its_own(tmp_path: Path) -> None:
    """`model/model.py` gives `NumpyPickler` a copy of `pickle._Pickler.dispatch`, so that dill cannot add to it.

    When the table is gone: look at `joblib.dump` and at what `dill.extend` changes; a model saved beside dill must load
    where there is no dill.
    """
    assert issubclass(NumpyPickler, pickle._Pickler) and isinstance(pickle._Pickler.dispatch, dict)
    kind = type("Plain", (NumpyPickler,), {"dispatch": pickle._Pickler.dispatch.copy()})
    with (tmp_path / "ours").open("wb") as file:
        kind(file).dump({"a": np.arange(3)})
    joblib.dump({"a": np.arange(3)}, tmp_path / "joblibs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "joblibs").read_bytes()


def test_granians_handler_of_sigterm_is_known_by_its_module() -> None:
    """`serving/server/sigterm.py` replaces the handler that a worker inherits from granian, while the worker starts.

    It knows it by the module. When that is another: name it there; otherwise a worker that is stopped while it starts
    serves on until it is killed.
    """
    from granian._signals import set_main_signals
    from granian.server import Server

    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        set_main_signals(Server("serving.wsgi:rsgi_app").signal_handler_interrupt)
        assert getattr(signal.getsignal(signal.SIGTERM), "__module__", "").startswith("granian")
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def test_pymongo_splits_the_options_of_a_url() -> None:
    """`plugins/connections.py` takes `split_options` from a module that pymongo does not document.

    When it has moved: import it from its new place. It has to check values, and to leave them as they are
    written without `validate` and `normalize`.
    """
    from pymongo.uri_parser_shared import split_options

    assert dict(split_options("maxPoolSize=5&w=majority", validate=False, normalize=False)) == {
        "maxpoolsize": "5",
        "w": "majority",
    }
    with pytest.raises(ValueError, match="maxpoolsize"):
        split_options("maxPoolSize=many")


def test_great_expectations_logs_under_the_names_that_airflow_keeps_quiet() -> None:
    """`deploy/airflow/airflow_local_settings.py` raises the level of two loggers, one of a private module.

    When a module has moved: name its new place there; otherwise each start of Airflow logs hundreds of lines.
    """
    from great_expectations import _docs_decorators
    from great_expectations.expectations import registry

    assert {_docs_decorators.logger.name, registry.logger.name} == {
        "great_expectations._docs_decorators",
        "great_expectations.expectations.registry",
    }


def test_a_queue_of_multiprocessing_has_a_lock_that_its_readers_share() -> None:
    """`deploy/airflow/airflow_local_settings.py` looks at it to tell a queue that a killed worker has locked.

    When it has another name: use that; otherwise the scheduler fails at its first round with a task in the queue.
    """
    from airflow.executors.local_executor import LocalExecutor, SimpleQueue

    queue: Any = SimpleQueue()
    assert queue._rlock.acquire(block=False) and not queue._rlock.acquire(block=False)
    queue._rlock.release()
    assert callable(LocalExecutor.sync)


def test_airflow_checks_the_rights_of_a_page_by_the_dag() -> None:
    """`plugins/pages.py` and `plugins/models_page.py` let in by `requires_access_dag`, and ask `get_user` who it is.

    Both are of Airflow's own API, and no public interface. When they have moved or take other arguments: see what the
    routes in `core_api/routes/public/hitl.py` depend on, and depend on the same; never serve a page without.
    """
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag

    assert inspect.iscoroutinefunction(get_user) and {"get_id", "get_name"} <= set(dir(BaseUser))
    check = requires_access_dag("PUT", DagAccessEntity.HITL_DETAIL, "a_dag")
    assert list(inspect.signature(check).parameters) == ["request", "user"]
    assert DagAccessEntity.RUN in set(DagAccessEntity)


def test_a_role_that_starts_runs_may_not_answer_questions() -> None:
    """`plugins/models_page.py` lets those move versions who may edit the DAG's HITL details, by FAB's roles, too.

    When FAB gives that to Viewer, or no longer to User: choose another right in `_may` there, one that the role of the
    service's own login (`deploy/airflow/make_users.py`, `access` in `plugins/stage_tasks.py`) does not have.
    """
    from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride as Fab
    from airflow.providers.fab.www.security.permissions import ACTION_CAN_EDIT, RESOURCE_HITL_DETAIL

    answers = (ACTION_CAN_EDIT, RESOURCE_HITL_DETAIL)
    assert answers in Fab.USER_PERMISSIONS and answers not in Fab.VIEWER_PERMISSIONS
    service = (ROOT / "deploy" / "airflow" / "make_users.py").read_text()
    assert "HITL" not in service + (ROOT / "plugins" / "stage_tasks.py").read_text()


def test_airflow_has_a_key_that_signs_the_forms_of_pages() -> None:
    """`plugins/model_moves.py` signs the tokens of forms with the key of `[api] secret_key`, as Airflow reads it.

    When the function has moved: see what `core_api/app.py` puts into `app.state.secret_key`. All workers of an
    API server must have the same key.
    """
    from airflow.api_fastapi.auth.tokens import get_signing_key

    assert get_signing_key("api", "secret_key") == get_signing_key("api", "secret_key") != ""


def test_airflow_shows_views_of_plugins_where_the_pages_say() -> None:
    """`plugins/pages.py` gives `external_views` as dictionaries: tabs of a run, and an entry beside Airflow's own.

    When a field is another: change `_tab` and `external_views` there, and look at the page in a browser: Airflow shows
    it in an `iframe` whose `sandbox` must allow forms, and our policy must let Airflow frame it.
    """
    from airflow.api_fastapi.core_api.datamodels.plugins import ExternalViewResponse

    view = {"name": "Models", "href": "updraft/models", "destination": "nav", "url_route": "models"}
    view |= {"nav_top_level": True}
    assert ExternalViewResponse.model_validate(view).model_dump().items() >= view.items()
    ExternalViewResponse.model_validate(view | {"destination": "dag_run"})


def test_a_task_of_airflows_asks_its_supervisor() -> None:
    """`plugins/approval.py` asks a person by sending `CreateHITLDetailPayload` through `SUPERVISOR_COMMS`.

    When either has moved: see how `HITLOperator.execute` of the standard provider makes its question, and do the same;
    what is sent must have these fields, and the answer the text of the question as `body`.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CommsDecoder, CreateHITLDetailPayload

    assert "SUPERVISOR_COMMS" in task_runner.__annotations__ or hasattr(task_runner, "SUPERVISOR_COMMS")
    assert callable(CommsDecoder.send)
    fields = {"ti_id", "options", "subject", "body", "defaults", "multiple", "params", "assigned_users"}
    assert fields <= set(CreateHITLDetailPayload.model_fields)
