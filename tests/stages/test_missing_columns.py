"""A column that is missing is said once, with the new column that it may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_cases import integer, real, small_case, text
from updraft.sources.files import File
from updraft.stages.ingest import ingest
from updraft.stages.missing_columns import describe_missing
from updraft.stages.stage_folder import read_json
from updraft.stages.validate import REPORT, ValidationFailed, validate


@pytest.mark.parametrize(
    ("missing", "new", "message"),
    [
        (["Age"], [], "'Age' is missing"),
        (["Age"], ["AgeYears"], "'Age' is missing, 'AgeYears' is new: renamed? `read: {rename: {AgeYears: Age}}`"),
        (["Age"], ["x"], "'Age' is missing, 'x' is new: renamed? `read: {rename: {x: Age}}`"),
        (["Age"], ["x", "y"], "'Age' is missing"),
        (["age in years"], ["x", "AGE (in years)"],
         "'age in years' is missing, 'AGE (in years)' is new: renamed? "
         '`read: {rename: {"AGE (in years)": "age in years"}}`'),
        (["a_price", "b_price", "zip"], ["price_b", "price_a", "new"],
         "'a_price' is missing, 'price_a' is new: renamed?; 'b_price' is missing, 'price_b' is new: renamed?; "
         "'zip' is missing `read: {rename: {price_a: a_price, price_b: b_price}}`"),
    ],
)  # fmt: skip
def test_a_missing_column_is_paired_with_the_new_one_that_it_resembles(
    missing: list[str], new: list[str], message: str
) -> None:
    assert describe_missing(missing, new) == message


def test_a_renamed_column_has_one_cause_in_error_log_and_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    columns = [real("Age", nullable=False, minimum=0, maximum=120), text("plan", allowed=("a", "b")), integer("y")]
    case = small_case(columns, folder=tmp_path)
    (tmp_path / "rows.csv").write_text("AgeYears,plan,y\n" + "30,a,0\n40,b,1\n" * 9)
    dataset = ingest(case, File(tmp_path / "rows.csv", case), tmp_path / "ingest")
    caplog.clear()
    cause = "'Age' is missing, 'AgeYears' is new: renamed? `read: {rename: {AgeYears: Age}}`"
    with pytest.raises(ValidationFailed) as failure:
        validate(case, dataset, tmp_path / "validate")
    assert str(failure.value).endswith(f"expectations failed: {cause}") and str(failure.value).count("Age'") == 1
    assert caplog.text.count(cause) == 1
    (failed,) = read_json(tmp_path / "validate" / REPORT)["failed"]
    assert failed["error"] == cause and failed["severity"] == "critical"
