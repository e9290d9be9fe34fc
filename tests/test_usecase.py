from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from updraft.usecase import ROOT, BadUseCase, RunParams, load, paths

Edit = Callable[[str, str], Path]


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """Give a function that copies the shipped use case with one piece of its YAML replaced, and returns the root."""

    def edit(old: str, new: str) -> Path:
        for folder in ("include/usecases", "expectations"):
            shutil.copytree(ROOT / folder, tmp_path / folder)
        path = tmp_path / "include/usecases/vehicle_insurance.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return tmp_path

    return edit


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_every_shipped_use_case_loads_and_learns_from_columns_that_are_no_answer(path: Path) -> None:
    case = load(path.stem)
    features = [column.name for column in case.features]
    assert features
    assert not {case.target, case.id} & set(features)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("target: Response", "tarjet: Response", "unknown key 'tarjet' (did you mean 'target'?)"),
        ("target: Response", "", "target: Field required"),
        ("target: Response", "target: Reponse", "target: no column 'Reponse' in the suite (did you mean 'Response'?)"),
        ("estimator: RandomForestClassifier", "estimator: RandomForrest", "'RandomForestClassifier' or 'HistGradient"),
        ("test_share: 0.2", "test_share: 2", "test_share: Input should be less than 1, found 2"),
        ('schedule: "0 3 * * 1"', 'schedule: "mondays"', "schedule: 'mondays' is not a cron expression"),
        ("positive: 1", "positive: 7", "positive: 7 is not the value of a label"),
        ("gate: {metric: f1,", "gate: {metrik: f1,", "unknown key 'gate.metrik' (did you mean 'metric'?)"),
        ("choose_by: pr_auc", "choose_by: auc", "choose_by: Input should be 'roc_auc', 'pr_auc'"),
        ("seed: 42", "columns: []", "columns: taken from the file names and the suite"),
        ("seed: 42", "seed: [", "not YAML"),
    ],
)
def test_a_fault_in_the_yaml_is_named_with_file_key_and_what_was_expected(
    edited: Edit, old: str, new: str, complaint: str
) -> None:
    with pytest.raises(BadUseCase) as refusal:
        load("vehicle_insurance", edited(old, new))
    assert complaint in str(refusal.value)
    assert "vehicle_insurance.yaml" in str(refusal.value)


def test_all_faults_are_told_at_once(edited: Edit) -> None:
    with pytest.raises(BadUseCase) as refusal:
        load("vehicle_insurance", edited("seed: 42\ntest_share: 0.2", "sed: 42\ntest_share: 2"))
    assert len(str(refusal.value).splitlines()) == 2


def test_an_unknown_use_case_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadUseCase, match=r"no use case 'vehicle_insurence' \(did you mean 'vehicle_insurance'\?\)"):
        load("vehicle_insurence")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"dataste": 1}, "run parameter unknown key 'dataste'"),
        ({"sed": 1}, "did you mean 'seed'?"),
        ({"limit": 0}, "limit: Input should be greater than or equal to 1, found 0"),
        ({"limit": "10"}, "limit: Input should be a valid integer, found '10'"),
        ({"promote": "always"}, "promote: Input should be 'auto' or 'never', found 'always'"),
    ],
)
def test_wrong_run_parameters_are_refused(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadUseCase) as refusal:
        RunParams.check(values)
    assert complaint in str(refusal.value)


def test_run_parameters_override_the_yaml_and_none_does_not() -> None:
    case = RunParams.check({"seed": 7, "limit": None, "promote": "never"}).applied(load("vehicle_insurance"))
    assert (case.seed, case.promote) == (7, "never")
    assert RunParams.check({"seed": None}).applied(case).seed == 7
