"""Use cases as people write them: what loads, and what is said of what does not, with file and line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from tests.support.shop import Write, expectation, shop_suite, write_shop
from updraft.usecase import BadUseCase, check_params, load, paths, with_params
from updraft.usecase.blocks import BinaryMetric, Classifier, Serving
from updraft.usecase.source_blocks import SourceBlock

METRICS = ", ".join(get_args(BinaryMetric))
CLASSIFIERS = ", ".join(get_args(Classifier))
KINDS = ", ".join(SourceBlock.model_fields)


@pytest.fixture
def shop(tmp_path: Path) -> Write:
    """Give a function that writes a small use case, its YAML edited, and returns the root."""
    return partial(write_shop, tmp_path)


def refusal(root: Path, name: str = "shop") -> list[str]:
    with pytest.raises(BadUseCase) as refused:
        load(name, root)
    return str(refused.value).splitlines()


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_every_shipped_use_case_loads_and_learns_from_columns_that_are_no_answer(path: Path) -> None:
    case = load(path.stem)
    features = [column.name for column in case.feature_columns]
    assert features
    assert not {case.target, case.id} & set(features)


def test_the_use_case_of_these_tests_loads(shop: Write) -> None:
    assert load("shop", shop()).gate.metric == "f1"


def test_a_login_in_the_address_of_a_feature_store_is_refused_and_not_repeated(shop: Write) -> None:
    (message,) = refusal(shop(("{metric: f1}", "{metric: f1}\nfeatures: {store: http://a:s3cret@f, entity: key}")))
    assert "the URL has a login" in message and "s3cret" not in message


@pytest.mark.parametrize(
    ("edits", "line", "message"),
    [
        # keys and values of the YAML
        ([("title:", "titel:")], 1, "unknown key 'titel' (did you mean 'title'?)"),
        ([("target: sold", "tarjet: sold")], 3, "unknown key 'tarjet' (did you mean 'target'?)"),
        ([("title: What sells?\n", "")], None, "title: missing"),
        ([("{metric: f1}", "{metrik: f1}")], 14, "unknown key 'gate.metrik' (did you mean 'metric'?)"),
        ([("{metric: f1}", "{}\nzzz: 1")], 15, "unknown key 'zzz'"),
        ([("{metric: f1}", "{zzz: 1}")], 14, "unknown key 'gate.zzz'; there are: metric, rule, margin, interval"),
        ([("{by: hash}", "{by: time, colum: day}")], 10, "unknown key 'split.colum' (did you mean 'column'?)"),
        ([("params", "parms")], 12, "unknown key 'candidates.forest.parms' (did you mean 'params'?)"),
        ([("{by: hash}", "{by: hsah}")], 10,
         "split.by: 'hsah' is unknown (did you mean 'hash'?); there are: hash, random, time, group"),
        ([("{by: hash}", "{share: 0.1}")], 10, "split.by: missing; there are: hash, random, time, group"),
        ([("{by: hash}", "{by: hash, share: 2}")], 10, "split.share: expected less than 1, found 2"),
        ([("{by: hash}", "{by: hash}\nfolds: three")], 11,
         "folds: expected a valid integer, unable to parse string as an integer, found 'three'"),
        ([("{by: hash}", "{by: hash}\nfolds: 4\nvalidation: {holdout: 0.2}")], 12,
         "validation: holdout takes the place of folds, and the YAML has both; leave one out"),
        ([("{by: hash}", "{by: hash}\nvalidation: {holdout: 20}")], 11,
         "validation.holdout: expected less than 1, found 20"),
        ([("{by: hash}", "{by: hash}\nvalidation: {hold_out: 0.2}")], 11,
         "unknown key 'validation.hold_out' (did you mean 'holdout'?)"),
        ([("{by: hash}", "{by: hash}\nvalidation: {}")], 11, "validation.holdout: missing"),
        ([("{by: hash}", "{by: hash}\nschedule: mondays")], 11,
         "schedule: 'mondays' is not a cron expression such as '0 3 * * 1'"),
        ([("{by: hash}", "{by: hash}\nschedule: {cron: mondays}")], 11,
         "schedule.cron: 'mondays' is not a cron expression such as '0 3 * * 1'"),
        ([("{by: hash}", "{by: hash}\nschedule: {}")], 11, "schedule: expected cron, after, rows or hours"),
        ([("{by: hash}", "{by: hash}\nschedule: {rows: 0}")], 11,
         "schedule.rows: expected greater than or equal to 1, found 0"),
        ([("{by: hash}", "{by: hash}\nschedule: {rows: 5}"), ("mongodb: {collection: shop}", "file: {path: x}")], 11,
         "schedule.rows: only the rows of a source of kind mongodb, sql, kafka can be counted, found file"),
        ([("{by: hash}", "{by: hash}\nschedule: {afte: etl_x}")], 11,
         "unknown key 'schedule.afte' (did you mean 'after'?)"),
        ([("{collection: shop}", "{collection: shop, watermark: {column: day, late: 2 weeks}}")], 2,
         "source.mongodb.watermark.late: '2 weeks' is no duration; expected a number with s, m, h or d, such as 2d"),
        ([("{collection: shop}", "{collection: shop, watermark: {column: day, late: 99999999999d}}")], 2,
         "source.mongodb.watermark.late: '99999999999d' is longer than a duration can be"),
        # the feature store
        ([("{metric: f1}", "{metric: f1}\nfeatures: {store: http://f:6566}")], 15, "features.entity: missing"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {store: ftp://f, entity: key}")], 15,
         "features.store: 'ftp://f' is no address of a feature server, expected http://host:6566 or https://host"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {store: http://f:99999, entity: key}")], 15,
         "features.store: expected http://host:6566 or https://host, found a URL that cannot be parsed"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {store: http://f/?a=b, entity: key}")], 15,
         "features.store: 'http://f/?a=b' has a query, a fragment or a space, expected http://host:6566 or "
         "https://host"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {entity: kei}")], 15,
         "features.entity: no column 'kei' in the suite (did you mean 'key'?)"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {entity: size}")], 15,
         "features.entity: column 'size' is float64 in the suite, expected int64 or str"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {entity: sold}")], 15,
         "features.entity: column 'sold' is the target: no request has it"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {entity: key, columns: [size, size]}")], 15,
         "features.columns: column 'size' is listed twice"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {entity: key, columns: sold}")], 15,
         "features.columns: column 'sold' is the target"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {entity: key, timestamp: size}")], 15,
         "features.timestamp: column 'size' is float64 in the suite, expected datetime64[us]"),
        ([("{metric: f1}", "{metric: f1}\nfeatures: {entity: key, timeout_seconds: 60}")], 15,
         "features.timeout_seconds: expected less than or equal to 10, found 60"),
        # what is watched
        ([("{metric: f1}", "{metric: f1}\nmonitor: {window: a week}")], 15,
         "monitor.window: 'a week' is no duration; expected a number with s, m, h or d, such as 2d"),
        ([("{metric: f1}", "{metric: f1}\nmonitor: {window: 0s}")], 15,
         "monitor.window: expected a duration longer than 0"),
        ([("{metric: f1}", "{metric: f1}\nmonitor:\n  schedule: hourly")], 16,
         "monitor.schedule: 'hourly' is not a cron expression such as '0 3 * * 1'"),
        ([("{metric: f1}", "{metric: f1}\nmonitor:\n  schedule: {}")], 16,
         "monitor.schedule: expected cron, rows or hours"),
        ([("{metric: f1}", "{metric: f1}\nmonitor:\n  schedule: {after: etl_x}")], 16,
         "unknown key 'monitor.schedule.after'; there are: cron, rows, hours"),
        ([("{metric: f1}", "{metric: f1}\nmonitor:\n  act:\n    covariate: rollback")], 17,
         "monitor.act.covariate: 'rollback' is unknown (did you mean 'roll_back'?); there are: "
         "warn, retrain, roll_back"),
        ([("{metric: f1}", "{metric: f1}\nmonitor:\n  act: {drift: warn}")], 16,
         "unknown key 'monitor.act.drift'; there are: schema_break, covariate, prediction, target, performance"),
        ([("{metric: f1}", "{metric: f1}\nmonitor:\n  drift: {psi: 0}")], 16,
         "monitor.drift.psi: expected greater than 0, found 0"),
        ([("{metric: f1}", "{metric: f1}\nmonitor:\n  performance: {metric: rmse}")], 16,
         f"monitor.performance.metric: 'rmse' is not a metric of a binary task; there are: {METRICS}"),
        ([("{collection: shop}", "{collection: shop, watermark: {column: day}}"), ("id: key\n", "")], 2,
         "source.mongodb.watermark: needs id, by which a changed row takes the place of its former self"),
        ([("{collection: shop}", "{collection: shop, watermark: {column: day}}"),
          ("{by: hash}", "{by: hash}\ndatasets: {keep: 0}")], 2,
         "source.mongodb.watermark: needs datasets: {keep: 1} or more, as rows are added to the last dataset"),
        ([("{metric: f1}", "f1")], 14, "gate: expected keys and values, found 'f1'"),
        ([("{by: hash}", "{by: hash}\nthreshold: precision")], 11, "threshold: rule 'precision' takes at_least"),
        ([("{by: hash}", "{by: hash}\nthreshold: best_f2")], 11,
         "threshold: 'best_f2' is unknown (did you mean 'best_f1'?); there are: best_f1, precision, recall, cost"),
        ([("{by: hash}", "{by: hash}\nengine: dusk")], 11,
         "engine: 'dusk' is unknown (did you mean 'dask'?); there are: threads, dask"),
        ([("{by: hash}", "{by: hash}\nengine: {connection: big}")], 11,
         "engine: 'threads' takes no connection; only dask does"),
        ([("{by: hash}", "{by: hash}\ntask: regresion")], 11,
         "task: 'regresion' is unknown (did you mean 'regression'?); there are: binary, multiclass, regression"),
        ([("RandomForestClassifier", "RandomForrest")], 12,
         "candidates.forest.estimator: 'RandomForrest' is unknown (did you mean 'RandomForestClassifier'?); "
         f"there are: {CLASSIFIERS}"),
        ([("roc_auc", "auc")], 13, f"floors: 'auc' is unknown (did you mean 'pr_auc'?); there are: {METRICS}"),
        # where the rows come from
        ([("{collection: shop}", "{collection: my shop}")], 2,
         "source.mongodb.collection: String should match pattern '^[\\w-][\\w.-]*$', found 'my shop'"),
        ([("{mongodb: {collection: shop}}", "\n  mongo: {collection: shop}")], 3,
         f"source: 'mongo' is unknown (did you mean 'mongodb'?); there are: {KINDS}"),
        ([("{mongodb: {collection: shop}}", "{}")], 2,
         f"source: expected one kind with its settings, found none; there are: {KINDS}"),
        ([("{mongodb: {collection: shop}}", "{file: {path: a.csv}, mongodb: {collection: shop}}")], 2,
         f"source: expected one kind with its settings, found mongodb, file; there are: {KINDS}"),
        ([("{mongodb: {collection: shop}}", "{file: }")], 2,
         f"source: expected one kind with its settings, found file without settings; there are: {KINDS}"),
        ([("{mongodb: {collection: shop}}", "rows.csv")], 2, "source: expected keys and values, found 'rows.csv'"),
        ([("source: {mongodb: {collection: shop}}\n", "")], None, "source: missing"),
        ([("{collection: shop}", "{colection: shop}")], 2,
         "unknown key 'source.mongodb.colection' (did you mean 'collection'?)"),
        ([("{collection: shop}", "{}")], 2, "source.mongodb.collection: missing"),
        ([("{collection: shop}", "{collection: shop, connection: a b}")], 2,
         "source.mongodb.connection: String should match pattern '^[\\w.-]+$', found 'a b'"),
        ([("{mongodb: {collection: shop}}", "{file: {path: ftp://host/rows.csv}}")], 2,
         "source.file.path: 'ftp://host/rows.csv' is neither a path, nor a file:// URI of this machine, s3:// or http(s)://"),
        ([("{mongodb: {collection: shop}}", "{file: {path: file://elsewhere/rows.csv}}")], 2,
         "source.file.path: 'file://elsewhere/rows.csv' is neither a path, nor a file:// URI of this machine, s3:// or http(s)://"),
        ([("{mongodb: {collection: shop}}", "{file: {path: }}")], 2,
         "source.file.path: expected a valid string, found None"),
        ([("forest:", "my/forest:")], 12, "candidates: 'my/forest' names a folder too: letters, digits, _ and - only"),
        # YAML itself
        ([("target: sold", "target: sold\ntitle: again")], 4, "title: duplicate key, first on line 1"),
        ([("{roc_auc: 0.7}", "{roc_auc: 0.7, roc_auc: 0.8}")], 13, "floors.roc_auc: duplicate key, first on line 13"),
        ([("{by: hash}", "{by: hash")], 11, "not YAML: while parsing a flow mapping expected ',' or '}', but got ':'"),
        ([("id: key", "\tid: key")], 4,
         "not YAML: while scanning for the next token found character '\\t' that cannot start any token"),
        ([("positive: 1", "positive: yes")], 9, "positive: 'yes' is not the value of a label; there are: 0, 1"),
        ([("{by: hash}", "{by: hash}\nfolds: 2024-13-01")], None, "not YAML: month must be in 1..12"),
        ([("positive: 1", "positive: *one")], 9, "not YAML: found undefined alias 'one'"),
        ([("positive: 1", "positive: !one 1")], 9,
         "not YAML: could not determine a constructor for the tag '!one'"),
        ([("{by: hash}", "{by: hash}\nsuite: x.json")], 11, "suite: not set here, suite is the file in expectations/"),
        # columns and their roles
        ([("target: sold", "target: solt")], 3, "target: no column 'solt' in the suite (did you mean 'sold'?)"),
        ([("[colour]", "[colour, COLUR]")], 5, "categorical: no column 'COLUR' in the suite (did you mean 'colour'?)"),
        ([("{by: hash}", "{by: group, column: shop}")], 10, "split.column: no column 'shop' in the suite"),
        ([("{by: hash}", "{by: hash}\nslices: {colur: {}}")], 11,
         "slices.colur: no column 'colur' in the suite (did you mean 'colour'?)"),
        ([("{by: hash}", "{by: hash}\nread: {casts: {sise: strip}}")], 11,
         "read.casts.sise: no column 'sise' in the suite (did you mean 'size'?)"),
        ([("{by: hash}", "{by: hash}\nread: {casts: {colour: number_from_text}}")], 11,
         "read.casts.colour: number_from_text returns int64 or float64, and column 'colour' is str in the suite"),
        ([("{by: hash}", "{by: hash}\nread: {quote: ab}")], 11,
         "read.quote: 'ab' is not one ASCII character, such as ; or \""),
        ([("{by: hash}", "{by: hash}\nread: {delimiter: '\"'}")], 11, "read: delimiter and quote are both '\"'"),
        ([("{by: hash}", "{by: hash}\nread: {header: maybe}")], 11, "read.header: 'maybe' is unknown; there are: none"),
        ([("id: key", "id: sold")], 4, "id: column 'sold' is target too"),
        ([("[colour]", "[colour]\ntext: colour")], 5, "categorical: column 'colour' is in text too"),
        ([("[colour]", "[colour, colour]")], 5, "categorical: column 'colour' is listed twice"),
        ([("[colour]", "[]\ntext: [size]")], 6, "text: column 'size' is float64 in the suite, expected str"),
        ([("[colour]", "[day]")], 5, "categorical: column 'day' is datetime64[us] in the suite, expected no date"),
        ([("[colour]", "[]\nignored: [colour, size, day]")], 6, "ignored: no column is left to learn from"),
        # what the service does
        # what the card says
        ([("{by: hash}", "{by: hash}\ncard: {intended: x}")], 11,
         "unknown key 'card.intended' (did you mean 'intended_use'?)"),
        ([("{by: hash}", "{by: hash}\ncard:\n  limits: [none, 3]")], 12,
         "card.limits.1: expected a valid string, found 3"),
        # what columns and values are called
        ([("{by: hash}", "{by: hash}\ntitles: {colur: Colour}")], 11,
         "titles.colur: no column 'colur' in the suite (did you mean 'colour'?)"),
        ([("{by: hash}", "{by: hash}\ntitles:\n  size: Size\n  colour: ' '")], 13,
         "titles.colour: String should have at least 1 character, found ' '"),
        ([("{by: hash}", "{by: hash}\ntitles: [colour]")], 11, "titles: expected keys and values, found ['colour']"),
        ([("{by: hash}", "{by: hash}\ntitles:\n  colour: Size\n  size: Size")], 13,
         "titles.size: column 'size' has the title 'Size', which is what column 'colour' is called"),
        ([("{by: hash}", "{by: hash}\ntitles: {colour: day}")], 11,
         "titles.colour: column 'colour' has the title 'day', which is what column 'day' is called"),
        ([("{by: hash}", "{by: hash}\ntitles: {key: Number}")], 11,
         "titles.key: column 'key' is the id: no form shows it"),
        ([("{by: hash}", "{by: hash}\nignored: size\nvalues: {size: {1: One}}")], 12,
         "values.size: column 'size' is in ignored: no form shows it"),
        ([("{by: hash}", "{by: hash}\nvalues: {sold: {0: No}}")], 11,
         "values.sold: column 'sold' is the target, whose values have their names in labels"),
        ([("{by: hash}", "{by: hash}\nvalues: {colur: {1: One}}")], 11,
         "values.colur: no column 'colur' in the suite (did you mean 'colour'?)"),
        ([("{by: hash}", "{by: hash}\nvalues: {size: {1: One}}")], 11,
         "values.size: column 'size' has no critical value set in the suite"),
        ([("{by: hash}", "{by: hash}\nvalues: {size: {1: 2}}")], 11,
         "values.size.1: expected a valid string, found 2"),
        ([("{by: hash}", "{by: hash}\nserving: {unsen: {}}")], 11,
         "unknown key 'serving.unsen' (did you mean 'unseen'?)"),
        ([("{by: hash}", "{by: hash}\nserving: {unseen: {colour: warm}}")], 11,
         "serving.unseen.colour: 'warm' is unknown (did you mean 'warn'?); there are: reject, warn"),
        ([("{by: hash}", "{by: hash}\nserving: {unseen: colour}")], 11,
         "serving.unseen: expected keys and values, found 'colour'"),
        ([("{by: hash}", "{by: hash}\nserving:\n  unseen: {colur: warn}")], 12,
         "serving.unseen.colur: no column 'colur' in the suite (did you mean 'colour'?)"),
        ([("{by: hash}", "{by: hash}\nserving:\n  unseen: {}\n  private: [colour, sise]")], 13,
         "serving.private: no column 'sise' in the suite (did you mean 'size'?)"),
        ([("{by: hash}", "{by: hash}\nserving: {private: colur}")], 11,
         "serving.private: no column 'colur' in the suite (did you mean 'colour'?)"),
        ([("{by: hash}", "{by: hash}\nserving: {private: sold}")], 11,
         "serving.private: column 'sold' is the target: no request has it"),
        ([("{by: hash}", "{by: hash}\nserving: {out_of_range: {key: warn}}")], 11,
         "serving.out_of_range.key: column 'key' is the id, which is ignored"),
        ([("{by: hash}", "{by: hash}\nignored: size\nserving: {out_of_range: {size: warn}}")], 12,
         "serving.out_of_range.size: column 'size' is in ignored: no request has it"),
        ([("{by: hash}", "{by: hash}\nserving: {unseen: {colour: warn}}")], 11,
         "serving.unseen.colour: column 'colour' has no critical value set in the suite"),
        ([("{by: hash}", "{by: hash}\nserving: {out_of_range: {size: reject}}")], 11,
         "serving.out_of_range.size: column 'size' has no critical range in the suite"),
        # labels
        ([("value: 0", 'value: "0"')], 7,
         "labels.0.value: '0' is text, and column 'sold' is int64 in the suite; without quotes it is a number"),
        ([("value: 0", "value: 2")], 7, "labels.0.value: 2 is not in the suite's value set of 'sold': 0, 1"),
        ([("positive: 1", "positive: 7")], 9, "positive: 7 is not the value of a label; there are: 0, 1"),
        ([("positive: 1\n", "")], None, "positive: missing; there are: 0, 1"),
        ([("value: 1", "value: 0")], 8, "labels.1.value: duplicate 0"),
        ([("positive: 1", "task: multiclass")], 6, "labels: a multiclass task has three or more, found 0, 1"),
        # tasks
        ([("{metric: f1}", "{metric: rmse}")], 14,
         f"gate.metric: 'rmse' is not a metric of a binary task; there are: {METRICS}"),
        ([("RandomForestClassifier", "Ridge")], 12, "candidates.forest.estimator: Ridge does not do binary"),
    ],
)  # fmt: skip
def test_a_fault_in_the_yaml_is_told_with_its_line_and_what_was_expected(
    shop: Write, edits: list[tuple[str, str]], line: int | None, message: str
) -> None:
    place = f"include/usecases/shop.yaml{f':{line}' if line else ''}"
    assert f"{place}: {message}" in refusal(shop(*edits))


@pytest.mark.parametrize(
    ("edits", "places"),
    [
        (  # one of each kind: neither the blocks' faults nor those between them hide the others
            [("id: key", "id: kee"), ("RandomForestC", "C"), ("roc_auc", "r2"), ("[colour]", "[color]")],
            [4, 5, 12, 13],
        ),
        ([("{by: hash}", "{by: hash}\nseed: -1\nfolds: 1\ntask: binry"), ("id: key", "id: kee")], [4, 11, 12, 13]),
    ],
)
def test_all_faults_are_told_at_once_in_the_order_of_the_file(
    shop: Write, edits: list[tuple[str, str]], places: list[int]
) -> None:
    told = refusal(shop(*edits))
    assert [int(line.split(":")[1]) for line in told] == places


def test_one_mistake_is_told_once(shop: Write) -> None:
    """A misspelt task says nothing of labels, metrics and estimators; a misspelt key is not missing too."""
    assert len(refusal(shop(("positive: 1", "positive: 1\ntask: regresion")))) == 1
    assert len(refusal(shop(("{collection: shop}", "{colection: shop}")))) == 1
    assert len(refusal(shop(("source:", "sorce:")))) == 1
    assert len(refusal(shop(("mongodb:", "mongo:")))) == 1
    assert len(refusal(shop(("positive: 1", "positive: 1\nseed: many")))) == 1


@pytest.mark.parametrize("old", ["collection: shop", "collection: my shop", "collection:\n  - shop"])
def test_the_old_key_of_a_collection_is_one_line_that_names_its_replacement(shop: Write, old: str) -> None:
    (message,) = refusal(shop(("source: {mongodb: {collection: shop}}", old)))
    assert message.startswith("include/usecases/shop.yaml:2: collection: is now source: {mongodb: {collection: ")


def test_values_have_names_where_the_suite_allows_them(shop: Write) -> None:
    suite = [*shop_suite(), expectation("column_values_to_be_in_set", column="colour", value_set=["red", "1"])]
    suite.append(expectation("column_values_to_be_in_set", column="size", value_set=[1.0, 2.5]))
    text = "{by: hash}\nvalues:\n  colour: {red: Red, %s}\n  size: {%s: One, 2.5: %s}"
    case = load("shop", shop(("{by: hash}", text % ('"1": first', "1", "Two and a half")), suite=suite))
    assert case.values == {"colour": {"red": "Red", "1": "first"}, "size": {1: "One", 2.5: "Two and a half"}}
    assert refusal(shop(("{by: hash}", text % ("1: first", "3", "One")), suite=suite)) == [
        'include/usecases/shop.yaml:12: values.colour.1: 1 (int) is not text; in quotes, "1", it is text',
        "include/usecases/shop.yaml:13: values.size.3: 3 is not in the suite's value set of 'size': 1.0, 2.5",
        "include/usecases/shop.yaml:13: values.size.2.5: duplicate 'One', also the name of 3",
    ]
    [fault] = refusal(shop(("{by: hash}", text % ("red: Red too", "1", "Two")), suite=suite))
    assert fault.startswith("include/usecases/shop.yaml:12: values.colour.red: duplicate key")


def test_the_old_key_hides_no_other_fault(shop: Write) -> None:
    messages = refusal(shop(("source: {mongodb: {collection: shop}}", "collection: shop"), ("[colour]", "[color]")))
    assert messages == [
        "include/usecases/shop.yaml:2: collection: is now source: {mongodb: {collection: shop}}",
        "include/usecases/shop.yaml:5: categorical: no column 'color' in the suite (did you mean 'colour'?)",
    ]


@pytest.mark.parametrize(
    ("path", "resolved"),
    [
        ("data/rows.csv", "{root}/data/rows.csv"),
        ("/data/my rows.csv", "/data/my rows.csv"),
        ("file:///data/my%20rows.csv", "/data/my rows.csv"),
        ("file://localhost/data/rows.csv", "/data/rows.csv"),
    ],
)
def test_the_path_of_a_file_starts_at_the_repositorys_root(shop: Write, path: str, resolved: str) -> None:
    root = shop(("{mongodb: {collection: shop}}", f"{{file: {{path: '{path}'}}}}"))
    source = load("shop", root).source
    assert source.kind == "file" and source.file is not None
    assert source.file.path == resolved.format(root=root)


def test_faults_of_the_suite_are_told_with_those_of_the_yaml(shop: Write) -> None:
    suite = [each for each in shop_suite() if each["kwargs"].get("column") != "size"]
    suite.append(expectation("column_values_to_be_of_type", column="sise", type_="str"))
    suite = [each for each in suite if each != expectation("column_values_to_not_be_null", column="key")]
    told = refusal(shop(("[colour]", "[color]"), suite=suite))
    assert told == [
        "include/usecases/shop.yaml:5: categorical: no column 'color' in the suite (did you mean 'colour'?)",
        "expectations/shop.json:2: column 'size' needs a critical type, one of int64, float64, str, bool, "
        "datetime64[us], found None",
        "expectations/shop.json:3: column 'key' is int64 and may be null, which pandas cannot hold: "
        "declare it float64, or add a critical expect_column_values_to_not_be_null",
        "expectations/shop.json:11: column 'sise' has an expectation and is not in the column set",
    ]


def test_each_expectation_of_a_wrong_severity_is_named_with_the_severities_that_there_are(shop: Write) -> None:
    suite = shop_suite()
    suite[1] |= {"severity": "criticl"}
    suite[0] |= {"severity": None}
    one, two = ((each["type"], each["kwargs"].get("column")) for each in suite[:2])
    assert refusal(shop(suite=suite))[-2:] == [
        f"expectations/shop.json: not a valid suite: expectation 1 ({one[0]}): severity None, "
        "expected 'critical', 'warning' or 'info'",
        f"expectations/shop.json: not a valid suite: expectation 2 ({two[0]} of {two[1]!r}): severity 'criticl', "
        "expected 'critical', 'warning' or 'info'",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "expectations/shop.json: no such suite"),
        ('{"expectations": [\n{"type": 1,}]}', "expectations/shop.json:2: not a suite: Invalid JSON: trailing comma"),
        ('{"expectations": []}', "expectations/shop.json: no 'expect_table_columns_to_match_set' names the columns"),
    ],
)
def test_a_file_that_is_no_suite_is_named(shop: Write, text: str | None, told: str) -> None:
    root = shop()
    (root / "expectations/shop.json").unlink()
    if text is not None:
        (root / "expectations/shop.json").write_text(text)
    assert refusal(root)[0].startswith(told)


@pytest.mark.parametrize(
    ("text", "told"), [("", "found nothing"), ("- a\n", "found list"), ("words", "found str")], ids=lambda text: text
)
def test_a_yaml_without_keys_is_refused(shop: Write, text: str, told: str) -> None:
    root = shop()
    (root / "include/usecases/shop.yaml").write_text(text)
    assert refusal(root) == [f"include/usecases/shop.yaml: expected keys and values, {told}"]


def test_a_yaml_that_is_not_utf_8_is_refused(shop: Write) -> None:
    root = shop()
    (root / "include/usecases/shop.yaml").write_bytes(b"title: \xe9\n")
    assert refusal(root)[0].startswith("include/usecases/shop.yaml: not UTF-8")


def test_a_bare_no_is_text_as_yaml_1_2_has_it(shop: Write) -> None:
    case = load("shop", shop(('name: "no"', "name: no"), ("{by: hash}", "{by: hash}\ndeduplicate: yes")))
    assert (case.labels[0].name, case.deduplicate) == ("no", True)


def test_every_duplicate_key_is_reported_with_both_lines(shop: Write) -> None:
    edits = ("target: sold", "target: sold\ntitle: again"), ("{roc_auc: 0.7}", "{roc_auc: 0.7, roc_auc: 0.8}")
    assert refusal(shop(*edits)) == [
        "include/usecases/shop.yaml:4: title: duplicate key, first on line 1",
        "include/usecases/shop.yaml:14: floors.roc_auc: duplicate key, first on line 14",
    ]


def test_aliases_and_merged_keys_are_yaml_as_well(shop: Write) -> None:
    forest = "  forest: &forest {estimator: RandomForestClassifier, params: {n_estimators: 10}}\n  other: {<<: *forest}"
    case = load("shop", shop(("  forest: {estimator: RandomForestClassifier, params: {n_estimators: 10}}", forest)))
    assert case.candidates["other"] == case.candidates["forest"]


@pytest.mark.parametrize("name", ["Shop", "my-shop", "1shop", "s" * 64, "shöp"])
def test_a_name_that_is_not_allowed_is_refused(shop: Write, name: str) -> None:
    told = f"{name!r} is not a name of a use case: lower-case letters, digits and _, a letter first, 63 at most"
    assert refusal(shop(name=name), name) == [f"include/usecases/{name}.yaml: {told}"]


def test_what_the_service_does_is_refuse_unless_the_yaml_says_otherwise(shop: Write) -> None:
    assert load("shop", shop()).serving == Serving()
    bounds = [
        expectation("column_values_to_be_in_set", column="colour", value_set=["red", "blue"]),
        expectation("column_values_to_be_between", column="size", max_value=9),
        expectation("column_values_to_be_between", column="day", min_value="2026-01-01"),
        expectation("column_values_to_be_between", column="key", min_value=0) | {"severity": "warning"},
    ]
    told = "serving: {unseen: {colour: warn}, out_of_range: {size: reject, day: warn}, private: size}"
    case = load("shop", shop(("{by: hash}", "{by: hash}\n" + told), suite=[*shop_suite(), *bounds]))
    assert case.serving.unseen == {"colour": "warn"}
    assert case.serving.out_of_range == {"size": "reject", "day": "warn"}
    assert case.serving.private == ("size",)


def test_all_faults_of_what_the_service_does_are_told_at_once(shop: Write) -> None:
    told = "serving:\n  unseen: {colour: warn, sold: warn}\n  out_of_range: {sise: warn}\n  private: [key, day]"
    assert [line.split(" ")[:2] for line in refusal(shop(("{by: hash}", "{by: hash}\n" + told)))] == [
        ["include/usecases/shop.yaml:12:", "serving.unseen.colour:"],
        ["include/usecases/shop.yaml:12:", "serving.unseen.sold:"],
        ["include/usecases/shop.yaml:13:", "serving.out_of_range.sise:"],
        ["include/usecases/shop.yaml:14:", "serving.private:"],
    ]


def test_an_unknown_use_case_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadUseCase, match=r"no use case 'vehicle_insurence' \(did you mean 'vehicle_insurance'\?\)"):
        load("vehicle_insurence")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"dataste": 1}, "run parameter unknown key 'dataste'"),
        ({"sed": 1}, "did you mean 'seed'?"),
        ({"limit": 0}, "limit: expected greater than or equal to 1, found 0"),
        ({"limit": "10"}, "limit: expected a valid integer, found '10'"),
        ({"seed": 2**32}, "seed: expected less than 4294967296, found 4294967296"),
        ({"promote": "always"}, "promote: 'always' is unknown; there are: auto, canary, shadow, approve, never"),
    ],
)
def test_wrong_run_parameters_are_refused(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(BadUseCase) as refused:
        check_params(values)
    assert complaint in str(refused.value)


def test_run_parameters_override_the_yaml_and_none_does_not() -> None:
    case = with_params(load("vehicle_insurance"), check_params({"seed": 7, "limit": None, "promote": "never"}))
    assert (case.seed, case.promote) == (7, "never")
    assert with_params(case, check_params({"seed": None})).seed == 7


STRICTER = {
    "auto": ["auto", "canary", "shadow", "approve", "never"],
    "canary": ["canary", "shadow", "approve", "never"],
    "shadow": ["shadow", "approve", "never"],
    "approve": ["approve", "never"],
    "never": ["never"],
}


@pytest.mark.parametrize("yaml", STRICTER)
def test_a_run_promotes_by_the_yamls_rule_or_a_stricter_one(yaml: str) -> None:
    case = load("vehicle_insurance").model_copy(update={"promote": yaml})
    for run in ("auto", "canary", "shadow", "approve", "never"):
        if run in STRICTER[yaml]:
            assert with_params(case, check_params({"promote": run})).promote == run
        else:
            with pytest.raises(BadUseCase, match=f"promote: '{run}' is not as strict as the YAML's '{yaml}'"):
                with_params(case, check_params({"promote": run}))


@pytest.mark.parametrize(
    ("notify", "complaint"),
    [
        ("{teams: {connection: chat}}", "unknown key 'notify.teams'; there are: slack, email, about"),
        ("{}", "notify: expected slack or email"),
        ("{slack: {connection: chat}, about: []}", "notify: about: expected one event or more"),
        ("{slack: {connection: chat}, about: fail}", "'fail' is unknown (did you mean 'failed'?)"),
        ("{slack: {connection: chat, url: x}}", "unknown key 'notify.slack.url'; there are: connection"),
        ("{email: {to: ann}}", "notify.email.to: 'ann' is not an e-mail address"),
        ("{email: {to: []}}", "notify.email.to: expected one e-mail address or more"),
        ('{email: {to: "a@b.c\\nBcc: eve@example.com"}}', "is not an e-mail address"),
    ],
)
def test_who_is_told_is_checked(shop: Write, notify: str, complaint: str) -> None:
    [fault] = refusal(shop(("{by: hash}", f"{{by: hash}}\nnotify: {notify}")))
    assert fault.startswith("include/usecases/shop.yaml:11: ") and complaint in fault


def test_who_is_told_of_all_that_there_is_or_of_what_is_named(shop: Write) -> None:
    root = shop(("{by: hash}", "{by: hash}\nnotify: {email: {to: ann@example.com}, slack: {connection: chat}}"))
    notify = load("shop", root).notify
    assert notify and notify.email and notify.slack and notify.slack.connection == "chat"
    assert (notify.email.to, notify.email.connection) == (("ann@example.com",), "smtp_default")
    assert notify.about == ("failed", "promoted", "not_promoted", "rolled_back", "quarantine", "question")
    root = shop(("{by: hash}", "{by: hash}\nnotify: {slack: {connection: chat}, about: failed}"))
    assert (again := load("shop", root).notify) and again.about == ("failed",)


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("approve: {hours: 0}", ":11: approve.hours: expected greater than 0, found 0"),
        (
            "promote: approve\nschedule: '0 */6 * * *'",
            ":11: approve.hours: 20, but the schedule has runs 6 hours apart",
        ),
        ("approve: {hours: 24}\nschedule: '0 3 * * *'", ":11: approve.hours: 24, but the schedule has runs 24 hours"),
        ("promote: approve\nschedule: {cron: '0 3 1,2 * *', rows: 9}\napprove: {hours: 30}", ":13: approve.hours: 30"),
    ],
)
def test_a_run_waits_for_a_person_for_less_time_than_to_the_next_run(shop: Write, block: str, complaint: str) -> None:
    [fault] = [fault for fault in refusal(shop(("{by: hash}", f"{{by: hash}}\n{block}"))) if "approve" in fault]
    assert complaint in fault


@pytest.mark.parametrize("block", ["schedule: '0 3 * * 1'", "approve: {hours: 700}", "promote: approve"])
def test_without_a_schedule_or_with_a_longer_one_there_is_time_to_answer(shop: Write, block: str) -> None:
    more = "" if block.startswith("promote") else "\npromote: approve"
    case = load("shop", shop(("{by: hash}", f"{{by: hash}}\n{block}{more}")))
    assert case.promote == "approve" and case.approve.hours == (700 if "700" in block else 20)


@pytest.mark.parametrize(
    ("rollout", "complaint"),
    [
        ("{percent: 0}", "rollout.percent: expected greater than 0, found 0"),
        ("{percent: 101}", "rollout.percent: expected less than or equal to 100, found 101"),
        ("{minutes: 0}", "rollout.minutes: expected greater than 0, found 0"),
        ("{min_rows: 0}", "rollout.min_rows: expected greater than or equal to 1, found 0"),
        ("{percnt: 5}", "unknown key 'rollout.percnt' (did you mean 'percent'?)"),
    ],
)
def test_a_rollout_is_checked(shop: Write, rollout: str, complaint: str) -> None:
    [fault] = refusal(shop(("{by: hash}", f"{{by: hash}}\nmonitor: {{}}\npromote: canary\nrollout: {rollout}")))
    assert complaint in fault


@pytest.mark.parametrize("promote", ["canary", "shadow"])
def test_what_is_tried_needs_a_monitor(shop: Write, promote: str) -> None:
    [fault] = refusal(shop(("{by: hash}", f"{{by: hash}}\npromote: {promote}")))
    assert fault.endswith(f"yaml:11: promote: {promote} needs a monitor: block, which ends the rollout; {{}} is enough")
    assert load("shop", shop(("{by: hash}", f"{{by: hash}}\npromote: {promote}\nmonitor: {{}}"))).monitor


def test_a_watermark_needs_an_id_without_nulls(shop: Write) -> None:
    suite = [each for each in shop_suite() if each != expectation("column_values_to_not_be_null", column="size")]
    source = ("{collection: shop}", "{collection: shop, watermark: {column: day}}")
    (message,) = refusal(shop(source, ("id: key", "id: size"), suite=suite))
    assert message.endswith(
        "source.mongodb.watermark: needs an id without nulls: a row without one would be added again by each read"
    )
    load("shop", shop(source))
