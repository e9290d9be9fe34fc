"""`collect → drift → performance → decide`, on predictions of a model that was trained here."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tests.support.monitored import NAME, joined, put_into_production
from tests.support.trained import Trained
from updraft.demo.rows import generate
from updraft.registry import monitor_state
from updraft.registry.registry import Registry
from updraft.registry.s3 import VerificationError
from updraft.registry.signed_json import seal
from updraft.stages.monitor.act import Nothing, asked_before, asked_now, roll_back
from updraft.stages.monitor.collect import Extent, Observed, collect, read_rows
from updraft.stages.monitor.decide import Decision, decide, read_decision
from updraft.stages.monitor.drift import drift, read_drift
from updraft.stages.monitor.observe import observe
from updraft.stages.monitor.performance import performance, read_performance
from updraft.stages.monitor.publish import former_points, publish
from updraft.stages.monitor.report import extent, report
from updraft.stages.monitor.subject import COLLECTED, read_subject
from updraft.stages.stage_folder import read_json
from updraft.usecase import UseCase
from updraft.usecase.monitor_block import Act, Monitor

SEES_ALL = Monitor(act=Act(covariate="retrain", performance="roll_back"))
EXTENT = Extent("a test", "2026-11-22T00:00:00+00:00", "2026-11-29T00:00:00+00:00")


@pytest.fixture
def version(trained: Trained, registry: Registry, tmp_path: Path) -> Path:
    return put_into_production(registry, trained, tmp_path)


@pytest.fixture
def rows(case: UseCase) -> pd.DataFrame:
    return generate(case, 1500, seed=9)


def stages(monitor: Monitor, registry: Registry, tables: list[pa.Table], folder: Path) -> Decision:
    subject = read_subject(registry, NAME)
    collected = collect(subject, observe(tables, subject), EXTENT, folder / "collect")
    drifted = drift(monitor, collected, folder / "drift")
    measured = performance(monitor, collected, folder / "performance")
    return read_decision(decide(monitor, collected, drifted, measured, folder / "decide"))


def test_predictions_of_like_rows_that_came_true_lead_to_nothing(
    version: Path, registry: Registry, rows: pd.DataFrame, tmp_path: Path
) -> None:
    table = joined(version, rows, 1, rows["Response"].tolist())
    decision = stages(SEES_ALL, registry, [table[:700], table[700:]], tmp_path)
    assert (decision.found, decision.rows, decision.labels, decision.sequence) == ([], 1500, 1500, 1)
    found = read_drift(tmp_path / "drift")
    assert found.shifts == [] and {column.name for column in found.columns} >= {"(predictions)", "Response", "Vintage"}
    assert "Age" not in {column.name for column in found.columns}  # it is private: nobody logs it
    measured = read_performance(tmp_path / "performance")
    assert (measured.metric, measured.overall.verdict, measured.overall.rows) == ("f1", "as promised", 1500)
    promised = read_json(version / "evaluation.json")["metrics"]["f1"]
    assert measured.overall.promised == promised and measured.promised.keys() == measured.metrics.keys()


def test_each_signal_is_told_apart(version: Path, registry: Registry, rows: pd.DataFrame, tmp_path: Path) -> None:
    other = rows.assign(Vintage=rows["Vintage"].clip(upper=60))
    wrong = (1 - rows["Response"]).tolist()
    decision = stages(SEES_ALL, registry, [joined(version, other, 1, wrong)], tmp_path / "all")
    actions = {each.signal: each.action for each in decision.found}
    others = {"target": "warn", "prediction": "warn"}
    assert actions == others | {"covariate": "retrain", "performance": "roll_back"}
    cause = decision.cause("retrain")
    assert cause["columns"]["Vintage"] > 1 and "Vintage (PSI" in cause["reason"] and cause["signals"] == ["covariate"]
    assert (cause["version"], cause["rows"], cause["since"]) == (1, 1500, EXTENT.since)

    gone = joined(version, rows, 1, [None] * 1500)
    without = [json.dumps({**json.loads(text), "Vintage": None}) for text in gone["features"].to_pylist()]
    broken = gone.set_column(gone.column_names.index("features"), "features", pa.array(without))
    decision = stages(SEES_ALL, registry, [broken], tmp_path / "gone")
    assert [each.signal for each in decision.found] == ["schema_break"]
    assert decision.found[0].reason == "Vintage is gone: all of its values are null"


def test_few_rows_few_labels_and_other_versions_say_nothing(
    version: Path, registry: Registry, rows: pd.DataFrame, tmp_path: Path
) -> None:
    other = rows.assign(Vintage=10)
    truths = [*(1 - rows["Response"])[:150], *[None] * 1350]
    decision = stages(SEES_ALL, registry, [joined(version, other[:100], 1, truths[:100])], tmp_path / "few")
    assert decision.found == [] and read_drift(tmp_path / "few" / "drift").shifts == []
    assert stages(SEES_ALL, registry, [joined(version, other, 2, truths)], tmp_path / "other").rows == 0
    assert stages(SEES_ALL, registry, [], tmp_path / "none").found == []
    decision = stages(SEES_ALL, registry, [joined(version, rows, 1, truths)], tmp_path / "labels")
    assert (decision.found, decision.labels) == ([], 150)
    overall = read_performance(tmp_path / "labels" / "performance").overall
    assert overall.reason == "150 labels, 200 are needed"

    late = [*(1 - rows["Response"])[:400], *[None] * 1100]  # the same predictions, of which more is known by now
    decision = stages(SEES_ALL, registry, [joined(version, rows, 1, late)], tmp_path / "late")
    assert [each.signal for each in decision.found] == ["target", "performance"]


def test_values_of_another_type_are_null_and_labels_of_another_model_do_not_count(
    version: Path, registry: Registry, rows: pd.DataFrame, tmp_path: Path
) -> None:
    odd = joined(version, rows[:300], 1, [7] * 300)
    texts = [
        json.dumps({**json.loads(text), "Vintage": "many", "Gender": 3, "new": [1]})
        for text in odd["features"].to_pylist()
    ]
    stages(
        SEES_ALL, registry, [odd.set_column(odd.column_names.index("features"), "features", pa.array(texts))], tmp_path
    )
    by_name = {column.name: column for column in read_drift(tmp_path / "drift").columns}
    assert by_name["Vintage"].nulls and by_name["Vintage"].nulls[1] == 1 and by_name["Gender"].nulls == (0, 1)
    assert read_performance(tmp_path / "performance").overall.reason == "0 labels, 200 are needed"


@pytest.mark.parametrize("at_most", [1, 400, 700, 1499, 1500, 9999])
def test_of_many_rows_the_last_are_measured_and_the_report_says_so(
    version: Path, registry: Registry, rows: pd.DataFrame, tmp_path: Path, at_most: int
) -> None:
    table, subject = joined(version, rows, 1, [0] * 700 + [None] * 800), read_subject(registry, NAME)
    observed = observe([table[:300], table[300:1000], table[1000:]], subject)
    collected = collect(subject, observed, EXTENT, tmp_path / "collect", at_most=at_most)
    kept, facts = min(at_most, 1500), read_json(collected / COLLECTED)
    assert (facts["rows"], facts["left_out"], facts["labels"]) == (kept, 1500 - kept, max(kept - 800, 0))
    assert sorted(path.name for path in collected.glob("rows*")) == ["rows.parquet"]
    found = pa.concat_tables(read_rows(collected, ["Vintage"]))["Vintage"].to_pylist()
    assert found == rows["Vintage"].tolist()[1500 - kept :]
    said = f", the last {kept:,} of 1,500 rows" if kept < 1500 else ""
    assert extent(facts) == f"2026-11-22 00:00 to 2026-11-29 00:00 UTC{said}"


def test_rows_that_do_not_fit_are_a_schema_break(version: Path, registry: Registry, tmp_path: Path) -> None:
    subject = read_subject(registry, NAME)
    collected = collect(subject, [Observed(pa.table({}), 300)], EXTENT, tmp_path / "collect")
    assert read_json(collected / COLLECTED)["refused"] == 300
    found = read_drift(drift(SEES_ALL, collected, tmp_path / "drift"))
    assert found.schema_break == ["100.0% of 300 rows do not fit"] and found.shifts == []


def test_reports_are_published_signed_and_remember_former_ones(
    version: Path, registry: Registry, rows: pd.DataFrame, tmp_path: Path
) -> None:
    stages(SEES_ALL, registry, [joined(version, rows, 1, (1 - rows["Response"]).tolist())], tmp_path)
    folders = [tmp_path / name for name in ("collect", "drift", "performance", "decide")]
    for times in (1, 2):
        former = former_points(registry, NAME)
        assert len(former) == times - 1
        report(*folders, former, tmp_path / "decide")
        page = publish(registry, NAME, tmp_path / "decide", former, "http://airflow/runs/1")
        assert page.startswith(f"{registry.bucket}/{NAME}/monitor/") and page.endswith("/report.html")
    state = monitor_state.read(registry.bucket, registry.keys, NAME)
    assert state and (state.version, state.rows, state.labels, len(state.history)) == (1, 1500, 1500, 2)
    assert {signal.signal: signal.action for signal in state.found}["performance"] == "roll_back"
    assert (state.drift_state, state.drift) == ("found", "target shift: Response")
    stored = b"".join(registry.bucket.stream(f"{NAME}/monitor/{state.report}/report.html"))
    assert b"f1 over time" in stored and b"promised" in stored
    answer = registry.bucket.get(f"{NAME}/monitor.json")
    assert answer
    registry.bucket.put(f"{NAME}/monitor.json", answer[0].replace(b'"rows": 1500', b'"rows": 9999'))
    with pytest.raises(VerificationError, match="altered"):
        monitor_state.read(registry.bucket, registry.keys, NAME)
    assert former_points(registry, NAME) == []
    registry.bucket.put("sms_spam/monitor.json", answer[0])
    with pytest.raises(VerificationError, match="a copy from vehicle_insurance"):
        monitor_state.read(registry.bucket, registry.keys, "sms_spam")


def test_a_report_names_first_what_drifted_and_what_follows(
    version: Path, registry: Registry, rows: pd.DataFrame, tmp_path: Path
) -> None:
    def page(name: str, frame: pd.DataFrame, truths: list[Any]) -> str:
        stages(SEES_ALL, registry, [joined(version, frame, 1, truths)], tmp_path / name)
        folders = [tmp_path / name / each for each in ("collect", "drift", "performance", "decide")]
        report(*folders, [], tmp_path / name)
        return " ".join((tmp_path / name / "report.html").read_text(encoding="utf-8").split())

    drifted = page("drifted", rows.assign(Vintage=rows["Vintage"].clip(upper=60)), [None] * 1500)
    assert '<p class="outcome drifted"><b>Covariate shift</b>: Vintage' in drifted
    assert "<li>Covariate shift: <b>asks to train again</b></li>" in drifted
    assert '<p class="outcome"><b>Performance: not enough labels</b>' in drifted  # neither good nor bad
    stable = page("stable", rows, rows["Response"].tolist())
    assert '<p class="outcome good"><b>No drift</b>' in stable
    assert '<p class="outcome good"><b>Performance: as promised</b>' in stable


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("no drift", "none"),
        ("no drift; not enough rows for Age", "none"),
        ("covariate shift: Age; not enough rows for Vintage", "found"),
        ("schema break: Age is gone: all of its values are null", "found"),
        ("not enough rows to say anything", "unknown"),
        ("no rows to compare", "unknown"),
    ],
)
def test_a_record_of_an_earlier_updraft_has_its_state_in_its_words(registry: Registry, words: str, state: str) -> None:
    record: dict[str, Any] = {"name": NAME, "version": 1, "sequence": 1, "at": "2026-11-29T03:00:00+00:00"}
    record |= {"report": "20261129T030000Z", "page_sha256": "a" * 64, "rows": 9, "labels": 0, "refused": 0}
    record |= {"drift": words, "performance": "no labels", "metric": "f1", "found": [], "worst": {}, "history": []}
    registry.bucket.put(f"{NAME}/monitor.json", seal(record, registry.keys, "monitor"))
    read = monitor_state.read(registry.bucket, registry.keys, NAME)
    assert read and (read.drift_state, read.drift) == (state, words)


def test_old_reports_go(registry: Registry) -> None:
    for number in range(monitor_state.MAX_REPORTS + 3):
        registry.bucket.put(f"{NAME}/monitor/20261129T{number:06d}Z/report.json", b"{}")
    monitor_state.prune(registry.bucket, NAME)
    left = list(registry.bucket.keys(f"{NAME}/monitor/"))
    assert len(left) == monitor_state.MAX_REPORTS and left[0] == "20261129T000003Z/report.json"


def test_a_roll_back_acts_on_what_was_measured_alone_and_once(
    trained: Trained, registry: Registry, rows: pd.DataFrame, tmp_path: Path
) -> None:
    files = put_into_production(registry, trained, tmp_path, 3)
    wrong = (1 - rows["Response"]).tolist()
    measured = stages(SEES_ALL, registry, [joined(files, rows, 3, wrong)], tmp_path / "first")
    registry.hold(NAME, 1, who="me", why="it is old")
    with pytest.raises(Nothing, match="production moved since version 3 was measured"):
        roll_back(SEES_ALL, measured, registry, "run 1")
    measured = stages(SEES_ALL, registry, [joined(files, rows, 3, wrong)], tmp_path / "second")
    assert roll_back(SEES_ALL, measured, registry, "run 2") == 2
    last = registry.history(NAME)[-1]
    assert (last.action, last.who, registry.production(NAME)) == ("rollback", f"monitor:monitor_{NAME}", 2)
    assert "performance: f1 " in last.why and "promised (run run 2)" in last.why
    assert registry.states(NAME).hold(registry.version(NAME, 3).model_sha256)
    with pytest.raises(Nothing, match="production moved"):
        roll_back(SEES_ALL, measured, registry, "run 2")
    again = replace_version(measured, version=2, sequence=last.sequence)
    with pytest.raises(Nothing, match="version 3 was taken back 0 minutes ago"):
        roll_back(SEES_ALL, again, registry, "run 3")
    with pytest.raises(Nothing, match="no version that is not held"):
        roll_back(SEES_ALL.model_copy(update={"cool_down": timedelta(0)}), again, registry, "run 4")


def replace_version(decision: Decision, **changes: Any) -> Decision:
    return decision.model_copy(update=changes)


def test_within_the_cool_down_no_second_training_is_asked_for() -> None:
    now = asked_now("run 1")
    assert asked_before(SEES_ALL, now, "run 2").startswith("run run 1 asked for a training 0 minutes ago")
    assert asked_before(SEES_ALL, now, "run 1") == ""  # a further try of the run that asks
    yesterday = {"at": (datetime.now(UTC) - timedelta(days=1, seconds=1)).isoformat(), "run_id": "run 1"}
    assert asked_before(SEES_ALL, yesterday, "run 2") == ""
    for odd in (None, "x", {}, {"at": "x"}, {"at": 5}, {"at": (datetime.now(UTC) + timedelta(days=9)).isoformat()}):
        assert asked_before(SEES_ALL, odd, "run 2") == ""
    assert asked_before(replace_monitor(cool_down=timedelta(0)), now, "run 2") == ""


def replace_monitor(**changes: Any) -> Monitor:
    return SEES_ALL.model_copy(update=changes)
