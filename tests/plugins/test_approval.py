"""What a person is asked before a model is promoted, what the answer is read as, and how the log shows evidence."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from approval import FORM, ApproveOperator, question, read_answer
from evidence import Table, comparison, escape, models
from task_summary import folded, summary
from updraft.registry.monitor_state import MonitorState, Signal
from updraft.stages.push import Answer
from updraft.stages.stage_folder import write_json
from updraft.usecase import UseCase

HOSTILE = "[a](javascript:x) | <img src=x> {{ 1 }}\n# b"
CHAMPION = {
    "version": 3,
    "metrics": {"f1": 0.5, "brier": 0.2},
    "challenger": 0.61234,
    "champion": 0.5,
    "gain": 0.11234,
    "interval": [0.05, 0.17],
}
EVALUATION: dict[str, Any] = {
    "chosen": "forest",
    "rows": 1234,
    "metrics": {"f1": 0.61234, "brier": 0.1},
    "candidates": {"boosting": {"f1": 0.6}, "forest": {"f1": 0.61234, "brier": 0.1}},
    "champion": CHAMPION,
    "gate": {"metric": "f1", "rule": "better", "margin": 0.02},
    "floors": {"f1": 0.4},
    "slices": {
        "Region": {"good": {"rows": 100, "metrics": {"f1": 0.8}}, HOSTILE: {"rows": 50, "metrics": {"f1": 0.3}}}
    },
    "cause": None,
    "uneven_quarantine": "",
    "decision": "promote",
    "reason": "f1 beats it",
}
DRIFTED = MonitorState(
    name="vehicle_insurance",
    version=3,
    sequence=3,
    at="2026-11-29T03:00:00+00:00",
    report="20261129T030000Z",
    page_sha256="a" * 64,
    rows=900,
    labels=0,
    refused=0,
    drift="drifted",
    drift_state="found",
    performance="not enough labels",
    metric="f1",
    found=[Signal(signal="covariate", action="warn", reason="Vintage psi 0.4")],
    worst={"Vintage": 2.0},
    history=[],
)


def test_the_question_has_the_evidence_and_takes_values_of_columns_as_text(case: UseCase) -> None:
    asked = question(case, EVALUATION, DRIFTED, "http://airflow/card")
    assert asked.subject == "Promote forest of vehicle_insurance in place of version 3?"
    assert (asked.options, asked.hours) == (("promote", "canary", "reject"), 20)
    lines = asked.body.splitlines()
    assert (
        r"| forest \(chosen\) | 0\.6123 | 0\.1000 |" in lines
        and r"| champion, version 3 | 0\.5000 | 0\.2000 |" in lines
    )
    assert r"| f1 | 0\.6123 | 0\.4 |" in lines and "[Model card, with pictures](http://airflow/card)" in lines
    assert r"95 % \+0\.0500 to \+0\.1700" in asked.body and r"covariate\: Vintage psi 0\.4" in asked.body
    assert asked.evidence in asked.body
    assert question(case, EVALUATION | {"rows": 1}, DRIFTED, None).evidence != asked.evidence
    worst = [line for line in lines if line.startswith("| Region")]
    assert [line.split("|")[-2].strip() for line in worst] == [r"0\.3000", r"0\.8000"]
    assert r"\[a\]\(javascript\:x\) \| \<img" in worst[0]
    assert "<" not in asked.body.replace(r"\<", "") and "\n#" not in asked.body


def test_without_a_champion_there_is_nothing_to_try_the_first_version_beside(case: UseCase) -> None:
    asked = question(case, EVALUATION | {"champion": None}, None, None)
    assert asked.options == ("promote", "reject") and "canary" not in asked.body
    assert asked.subject.endswith("vehicle_insurance, the first one?") and "no monitor has reported" in asked.body


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, None),
        ({}, None),
        (
            {
                "chosen_options": ["canary"],
                "params_input": {"reason": " it\n sells "},
                "responded_by_user": {"id": "7", "name": "ann"},
            },
            Answer("canary", "ann", "it sells"),
        ),
        (
            {"chosen_options": ["reject"], "params_input": {}, "responded_by_user": None},
            Answer("reject", None, "no reason was given"),
        ),
        (
            {"chosen_options": ["promote"], "params_input": None, "responded_by_user": {"id": "7"}},
            Answer("promote", "7", "no reason was given"),
        ),
    ],
)
def test_an_answer_is_read(value: dict[str, Any] | None, answer: Answer | None) -> None:
    assert read_answer(value) == answer


@pytest.mark.parametrize(
    ("user", "options", "words"),
    [
        ({"id": "7", "name": "ann"}, ["canary"], "ann answered canary: it sells"),
        (None, ["reject"], "nobody answered in time"),
    ],
)
def test_the_log_says_who_answered_what(
    user: dict[str, str] | None, options: list[str], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = ApproveOperator(
        task_id="approve",
        ask=lambda name, uri: None,
        use_case="x",
        evaluation="",
        params=FORM,  # type: ignore[arg-type, return-value]
    )
    event = {
        "chosen_options": options,
        "params_input": {"reason": "it sells"} if user else {"reason": ""},
        "responded_at": datetime.now(UTC),
        "responded_by_user": user,
        "timedout": user is None,
    }
    with caplog.at_level(logging.INFO, "airflow.task"):
        task.execute_complete({}, event)  # type: ignore[arg-type]
    assert words in [record.getMessage() for record in caplog.records]


def test_the_log_has_tables_of_equal_columns() -> None:
    lines = models(EVALUATION).lines()
    assert [line.split()[-2:] for line in lines] == [
        ["f1", "brier"],
        ["0.6123", "0.1000"],
        ["0.6000", "-"],
        ["0.5000", "0.2000"],
    ]
    assert len({len(line) for line in lines}) == 1
    assert "+0.1123 (95 % +0.0500 to +0.1700); it has to be better by 0.02" in comparison(EVALUATION)
    none = CHAMPION | {"challenger": -0.00002, "champion": 0.0, "gain": -0.00002, "interval": [-0.00004, 0.00003]}
    by_nothing = "f1: 0.0000 against 0.0000 of the champion, version 3: 0.0000 (95 % 0.0000 to 0.0000); it has"
    assert comparison(EVALUATION | {"champion": none}).startswith(by_nothing)
    worse = EVALUATION | {"gate": EVALUATION["gate"] | {"rule": "not_worse"}}
    assert comparison(worse).endswith("; it may be worse by less than 0.02")
    assert escape("a\nb") == "a b" and Table(["x"], [["y"]]).markdown() == "| x |\n| --- |\n| y |"


def test_what_counts_stands_outside_of_the_folded_part(caplog: pytest.LogCaptureFixture, tmp_path: Any) -> None:
    write_json(tmp_path / "evaluation.json", EVALUATION)
    with caplog.at_level(logging.INFO), pytest.raises(ValueError, match="in vain"), folded("evaluate x") as lines:
        for _ in range(2):
            logging.getLogger("botocore").warning("it is slow")
        logging.getLogger("botocore").info("found credentials")
        lines.extend(summary("evaluate", tmp_path))
        raise ValueError("in vain")
    texts = [record.getMessage() for record in caplog.records]
    inside, outside = (
        part[1:] for part in (texts[: texts.index("::endgroup::")], texts[texts.index("::endgroup::") :])
    )
    assert inside == ["it is slow", "it is slow", "found credentials"]
    assert outside[0] == "it is slow" and outside[-1] == "decision: promote, because f1 beats it"
    assert not list(summary("evaluate", tmp_path / "nothing")) and not list(summary("push", tmp_path))
