"""The gates of each use case on real data, through the stages themselves. They skip where the data is absent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support.small_cases import SHARED_DATA
from updraft.defaults import ROOT
from updraft.model.version_files import MODEL
from updraft.sources.files import File
from updraft.stages.evaluate import EVALUATION, evaluate
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import TEST, TRAIN, read_json
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.stages.validate import REPORT, validate
from updraft.usecase import UseCase, load

pytestmark = pytest.mark.usefixtures("shared_data")

TEST_CASES = ROOT / "tests" / "cases"  # use cases that are not shipped


@dataclass(frozen=True)
class Judged:
    """A use case after all stages on a real file."""

    case: UseCase
    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / "evaluate" / EVALUATION)
        return found

    @property
    def metrics(self) -> dict[str, float]:
        found: dict[str, float] = self.facts["metrics"]
        return found

    @property
    def warned_of(self) -> set[str]:
        return {entry["column"] for entry in read_json(self.folder / "validate" / REPORT)["failed"]}

    def side(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "transform" / name)


Judge = Callable[..., Judged]


@pytest.fixture
def judged(tmp_path: Path) -> Judge:
    """Give a function that runs all stages of a use case on a file of the shared data."""

    def judge(name: str, file: str, root: Path = ROOT, seed: int | None = None) -> Judged:
        case = load(name, root)
        case = case if seed is None else case.model_copy(update={"seed": seed, "split_seed": seed})
        folder = tmp_path / f"{name}_{case.seed}"
        dataset = ingest(case, File(SHARED_DATA / file, case), folder / "ingest")
        split = transform(case, validate(case, dataset, folder / "validate"), folder / "transform")
        models = [train(case, candidate, split, folder / "train" / candidate) for candidate in case.candidates]
        evaluate(case, models, split, None, folder / "evaluate")
        return Judged(case, folder)

    return judge


def straddling(found: Judged) -> int:
    """Count the rows of features that stand on both sides of the split."""
    names = [column.name for column in found.case.feature_columns]
    train_rows, test_rows = (found.side(name)[names].drop_duplicates() for name in (TRAIN, TEST))
    return len(train_rows.merge(test_rows, on=names))


def test_vehicle_price_explains_the_price_of_99_000_cars(judged: Judge) -> None:
    found = judged("vehicle_price", "vehicle_price/uk_used_cars_all.csv.gz")
    assert found.facts["decision"] == "promote"
    for figures in found.facts["candidates"].values():  # each, not only the chosen one
        assert figures["r2"] >= 0.935 and figures["mae"] < 1300 and figures["mape"] < 0.09
    assert found.warned_of == {"year"}  # 1970 twice and 2060 once
    for candidate in found.case.candidates:
        assert (found.folder / "train" / candidate / MODEL).stat().st_size < 100e6
    assert set(found.side(TEST)["model"]) >= {"Fiesta", "Golf"}  # without the spaces of the file
    assert straddling(found) == 0


def test_network_security_finds_phishing_on_sites_it_has_not_seen(judged: Judge) -> None:
    found = judged("network_security", "network_security/phisingData.csv")
    assert found.case.positive == -1 and found.facts["decision"] == "promote"
    assert found.metrics["f1"] >= 0.94
    assert found.facts["train_metrics"]["f1"] - found.metrics["f1"] <= 0.05
    assert len(found.facts["candidates"]) == 5
    assert straddling(found) == 0
    assert len(found.side(TRAIN)) + len(found.side(TEST)) == 5849  # 11,055 rows, the others repeat


def test_a_file_that_was_loaded_five_times_gives_the_same_split(judged: Judge, tmp_path: Path) -> None:
    case = load("network_security")
    sides = []
    for file in ("phisingData.csv", "dirty_phishing_duplicated_ingest.csv.gz"):
        dataset = ingest(case, File(SHARED_DATA / "network_security" / file, case), tmp_path / file / "ingest")
        split = transform(case, dataset, tmp_path / file / "transform")
        sides.append([pd.read_parquet(split / name) for name in (TRAIN, TEST)])
    for once, five_times in zip(*sides, strict=True):
        pd.testing.assert_frame_equal(once, five_times)


def test_california_housing_gives_the_figures_in_print(judged: Judge) -> None:
    found = judged("california_housing", "california_housing/california_sklearn_format.csv")
    candidates = found.facts["candidates"]
    assert candidates["linear_regression"]["rmse"] == pytest.approx(0.7456, abs=0.005)
    assert candidates["decision_tree"]["rmse"] == pytest.approx(0.7242, abs=0.005)
    assert candidates["tuned_tree"]["rmse"] < 0.65
    assert found.metrics["r2"] >= 0.815 and found.facts["decision"] == "promote"
    assert found.warned_of == set()


def test_california_housing_as_published_has_nulls_and_a_category(judged: Judge) -> None:
    found = judged("housing", "california_housing/housing.csv", TEST_CASES)
    assert found.side(TRAIN)["total_bedrooms"].isna().sum() + found.side(TEST)["total_bedrooms"].isna().sum() == 207
    assert found.metrics["r2"] >= 0.815 and found.metrics["rmse"] == pytest.approx(48_500, abs=1500)
    assert set(found.facts["slices"]["ocean_proximity"]) >= {"INLAND", "NEAR BAY"}


def test_sms_spam_finds_spam_at_the_shipped_threshold_whatever_the_seed(judged: Judge) -> None:
    found = [judged("sms_spam", "sms_spam/spam.csv", seed=seed) for seed in range(5)]
    scores = [each.metrics["f1"] for each in found]
    assert sum(scores) / len(scores) >= 0.91, scores
    assert all(each.facts["decision"] == "promote" for each in found), scores
    assert all(len(each.facts["candidates"]) == 3 for each in found)
    assert found[0].side(TRAIN)["message"].str.contains("£").any()  # latin-1, read as such
    assert straddling(found[0]) == 0


def test_the_same_code_tells_good_reviews_from_bad_ones(judged: Judge) -> None:
    found = judged("reviews", "text_sentiment/amazon.csv", TEST_CASES)
    assert found.metrics["accuracy"] >= 0.91
    assert len(found.side(TRAIN)) + len(found.side(TEST)) == 20_000
