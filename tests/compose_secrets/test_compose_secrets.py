"""The secrets of the Docker stack: what the environment may set, what is refused, and which service gets which."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from cryptography.fernet import Fernet

from updraft.compose_secrets.__main__ import RESTORING, create, login
from updraft.compose_secrets.secrets import FIXED, GENERATORS, drop_s3_logins, resolve_secrets, variable
from updraft.compose_secrets.service_folders import Folder, folders
from updraft.compose_secrets.variables import S3_USERS, S3_VARIABLES, BadVariable, check, s3_variables
from updraft.errors import UserError
from updraft.local_stack.credentials import drop_old_key, rotate_keys
from updraft.registry.signing_keys import load_keys

HALVES = ("ACCESS", "SECRET")
KEYS = {"signing.pem": "private", "verify.pem": "public"}
ELSEWHERE = {"S3_ENDPOINT": "https://s3.example.com"}
WITH_S3 = ("tasks", "apiserver", "triggerer", "cli", "init", "serving", "shipper")
MINE = {"S3_ACCESS_KEY": "MY-ACCESS-KEY", "S3_SECRET_KEY": "my-secret-key"}


def folders_for(tmp_path: Path, **variables: str) -> dict[str, Folder]:
    return folders(resolve_secrets(tmp_path, variables), variables, KEYS)


def env(folder: Folder) -> dict[str, str]:
    return dict(line.split("=", 1) for line in folder.files["env"].splitlines())


def test_secrets_are_created_once_and_all_differ(tmp_path: Path) -> None:
    first = resolve_secrets(tmp_path, {})
    assert first.keys() == GENERATORS.keys()
    assert len(set(first.values())) == len(first)
    assert resolve_secrets(tmp_path, {}) == first
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(set(GENERATORS) - set(FIXED)))
def test_a_variable_replaces_the_stored_secret_and_is_kept(tmp_path: Path, name: str) -> None:
    resolve_secrets(tmp_path, {})
    variables = {variable(name): "another-value-of-32-characters-or-more"}
    assert resolve_secrets(tmp_path, variables)[name] == "another-value-of-32-characters-or-more"
    assert resolve_secrets(tmp_path, {})[name] == "another-value-of-32-characters-or-more"


@pytest.mark.parametrize("name", FIXED)
def test_a_secret_that_stored_data_depends_on_cannot_be_replaced(tmp_path: Path, name: str) -> None:
    first = Fernet.generate_key().decode() if "fernet" in name else "first-password"
    resolve_secrets(tmp_path, {variable(name): first})
    with pytest.raises(BadVariable, match=f"{variable(name)}: the stored data uses another one") as caught:
        resolve_secrets(tmp_path, {variable(name): GENERATORS[name]()})
    assert first not in str(caught.value)
    assert resolve_secrets(tmp_path, {variable(name): first})[name] == first


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"POSTGRES_PASSWORD": "short"}, "POSTGRES_PASSWORD: expected 8 or more"),
        ({"MONGODB_PASSWORD": "pässwörter"}, "MONGODB_PASSWORD: expected 8 or more printable ASCII"),
        ({"REDIS_PASSWORD": "two\nlines of it"}, "REDIS_PASSWORD: .* in one line"),
        ({"AIRFLOW_ADMIN_PASSWORD": " spaces around "}, "AIRFLOW_ADMIN_PASSWORD: "),
        ({"AIRFLOW_JWT_SECRET": "x" * 31}, "AIRFLOW_JWT_SECRET: expected 32 or more"),
        ({"AIRFLOW_FERNET_KEY": "x" * 44}, "AIRFLOW_FERNET_KEY: expected 32 bytes in URL-safe base64"),
        ({"SERVING_TRAIN_TOKEN": "0123456789abcde"}, "SERVING_TRAIN_TOKEN: it has 15 characters, expected 16"),
        ({"SERVING_TRAIN_TOKEN": "0123456789 abcdef"}, "SERVING_TRAIN_TOKEN: it contains a space"),
    ],
)
def test_a_wrong_variable_is_named_its_value_is_not_and_nothing_is_written(
    tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(BadVariable, match=message) as caught:
        resolve_secrets(tmp_path, variables)
    assert not any(value in str(caught.value) for value in variables.values())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"S3_ACCESS_KEY": "MY-ACCESS-KEY"}, "S3_ACCESS_KEY and S3_SECRET_KEY: expected both, or neither"),
        ({"S3_API_SECRET_KEY": "my-secret"}, "S3_API_ACCESS_KEY and S3_API_SECRET_KEY: expected both, or neither"),
        ({**ELSEWHERE, "S3_SECRET_KEY": "my-secret"}, "S3_ACCESS_KEY and S3_SECRET_KEY: expected both"),
        ({"UPDRAFT_MIRROR": "there", **ELSEWHERE}, "UPDRAFT_MIRROR: 'there' is not s3://bucket"),
        ({"MLFLOW_TRACKING_URI": "mlflow:5000"}, "MLFLOW_TRACKING_URI: 'mlflow:5000'; expected http"),
        ({"MLFLOW_TRACKING_URI": "http://me:my-secret@host\nMINE=1"}, "MLFLOW_TRACKING_URI: expected one line"),
        ({"UPDRAFT_MIRROR": "s3://there"}, "UPDRAFT_MIRROR: 's3://there', but S3 is the stack's own"),
        ({"S3_ENDPOINT": "s3.example.com"}, "S3_ENDPOINT: expected a URL such as http://"),
        ({"S3_ENDPOINT": "https://me:my-secret@s3.example.com"}, "S3_ENDPOINT: expected a URL .* without a login"),
        ({"UPDRAFT_REGISTRY": "nonsense"}, "UPDRAFT_REGISTRY: 'nonsense' is not s3://bucket"),
        ({"UPDRAFT_LOGS": "/var/log"}, "UPDRAFT_LOGS: '/var/log' is not s3://bucket"),
        ({"MONGODB_URL": "mongodb://host/db\nAIRFLOW__CORE__FERNET_KEY=mine"}, "MONGODB_URL: expected one line"),
        ({"SERVING_FEATURES_TOKEN": "secret\nMINE=1"}, "SERVING_FEATURES_TOKEN: expected one line"),
        ({"SERVING_API_KEYS": "ann:short"}, "SERVING_API_KEYS: line 1: the key has 5 characters"),
        ({"SERVING_API_KEYS": "prometheus:0123456789abcdef"}, "SERVING_API_KEYS: the name 'prometheus'"),
        ({"AIRFLOW_PARALLELISM": "many"}, "AIRFLOW_PARALLELISM: 'many', expected a whole number, 1 or more"),
        ({"AIRFLOW_WORKER_TASKS": "1.5"}, "AIRFLOW_WORKER_TASKS: '1.5', expected"),
        ({"SERVING_WORKERS": "0"}, "SERVING_WORKERS: '0', expected"),
    ],
)
def test_an_invalid_variable_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(BadVariable, match=message):
        check(variables)


def test_no_variable_is_required() -> None:
    check({})
    check(dict.fromkeys([*GENERATORS, "SERVING_WORKERS", "SERVING_API_KEYS", "MONGODB_URL", "UPDRAFT_REGISTRY"], ""))


def test_login_shows_the_logins_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="docker compose up creates them"):
        login(tmp_path, {})
    (tmp_path / "all").mkdir()
    token = "0123456789$(abcdef)"
    values = resolve_secrets(tmp_path / "all", {"SERVING_TRAIN_TOKEN": token})
    text = login(tmp_path, {"SERVING_URL": "http://here", "SERVING_TRAIN_TOKEN": "another", "SERVING_API_KEYS": "a:b"})
    assert f"user admin, password {values['airflow_admin_password']}" in text
    assert f"--oauth2-bearer '{token}' -H 'X-API-Key: <yours>' http://here/train/" in text
    assert resolve_secrets(tmp_path / "all", {}) == values
    assert [each.name for each in tmp_path.iterdir()] == ["all"]


@pytest.mark.parametrize(
    ("variables", "uri"),
    [
        ({}, ""),
        ({"COMPOSE_PROFILES": "alerts", "MLFLOW_TRACKING_URI": ""}, ""),
        ({"COMPOSE_PROFILES": "alerts, mlflow", "MLFLOW_TRACKING_URI": ""}, "http://mlflow:5000"),
        ({"COMPOSE_PROFILES": "*"}, "http://mlflow:5000"),
        ({"COMPOSE_PROFILES": "mlflow", "MLFLOW_TRACKING_URI": "https://ann:pass@there"}, "https://ann:pass@there"),
        ({"MLFLOW_TRACKING_URI": "http://there:5000"}, "http://there:5000"),
    ],
)
def test_what_moves_pointers_knows_the_tracker_of_the_profile_or_the_one_that_is_named(
    tmp_path: Path, variables: dict[str, str], uri: str
) -> None:
    got = folders(resolve_secrets(tmp_path, {}), variables, KEYS)
    lines = {name: folder.files.get("env", "").splitlines() for name, folder in got.items()}
    expected = [f"MLFLOW_TRACKING_URI={uri}"] if uri else []
    signers = {"tasks", "apiserver", "cli"}
    assert all([line for line in lines[name] if line.startswith("MLFLOW")] == expected for name in signers)
    assert not any("MLFLOW" in line for name in lines if name not in signers for line in lines[name])


def test_login_shows_the_mlflow_of_the_profile_alone(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    resolve_secrets(tmp_path / "all", {})
    profile = {"COMPOSE_PROFILES": "mlflow"}
    assert "MLflow    http://127.0.0.1:5001\n" in login(tmp_path, profile | {"MLFLOW_PORT": ""})
    assert "MLflow    http://127.0.0.1:5002\n" in login(tmp_path, profile | {"MLFLOW_PORT": "5002"})
    assert "MLflow" not in login(tmp_path, profile | {"MLFLOW_TRACKING_URI": "http://there"})
    assert "MLflow" not in login(tmp_path, {})


def test_each_service_gets_only_the_secrets_that_it_needs(tmp_path: Path) -> None:
    values = resolve_secrets(tmp_path, {})
    got = folders(values, {}, KEYS)
    secrets_of = {name: {key for key, value in values.items() if value in str(folder)} for name, folder in got.items()}
    assert secrets_of == {
        "postgres": {"postgres_password"},
        "mongodb": {"mongodb_root_password"},
        "mongodb-init": {"mongodb_password"},
        "redis": {"redis_password"},
        "s3": {each for user in S3_USERS for each in halves(user)},
        "grafana": {"grafana_admin_password"},
        "prometheus": {"metrics_key"},
        "alertmanager": set(),
        "airflow": (airflow := {
            "postgres_password", "mongodb_password", "redis_password",
            "airflow_jwt_secret", "airflow_secret_key", "airflow_fernet_key",
        }),
        "triggerer": airflow | halves("s3_triggerer"),
        "tasks": airflow | halves("s3"),
        "apiserver": airflow | halves("s3_api"),
        "cli": airflow | halves("s3_cli"),
        "exporter": {"postgres_password"},
        "init": airflow | halves("s3_init") | {"airflow_admin_password", "airflow_service_password"},
        "serving": halves("s3_reader") | {"airflow_service_password", "train_token"},
        "shipper": halves("s3_shipper"),
    }  # fmt: skip
    signing, verifying = ({name for name in got if key in got[name].files} for key in ("signing.pem", "verify.pem"))
    assert signing == {"tasks", "apiserver", "cli"}
    assert verifying == signing | {"airflow", "triggerer", "serving"}


def halves(user: str) -> set[str]:
    return {name.lower() for name in s3_variables(user)}


def test_a_stack_that_had_one_s3_login_gets_the_others_and_keeps_its_own_for_tasks(tmp_path: Path) -> None:
    create(tmp_path, {})
    before = resolve_secrets(tmp_path / "all", {})
    for name in set(S3_VARIABLES) - {f"{user}_{half}_KEY" for user in ("S3", "S3_READER") for half in HALVES}:
        (tmp_path / "all" / name.lower()).unlink()
    (tmp_path / "signer").mkdir()
    (tmp_path / "signer" / "env").write_text("of an earlier version")
    for _ in range(2):
        create(tmp_path, {})
        now = resolve_secrets(tmp_path / "all", {})
        assert now.keys() == before.keys() and not (tmp_path / "signer").exists()
        kept = {name for name in now if now[name] == before[name]}
        assert kept == set(before) - {name.lower() for name in S3_VARIABLES} | halves("s3") | halves("s3_reader")
        assert now["s3_api_secret_key"] in (tmp_path / "s3" / "s3.json").read_text()


def test_rotating_the_s3_logins_replaces_these_alone_but_not_one_of_the_environment(tmp_path: Path) -> None:
    create(tmp_path, MINE)
    before = resolve_secrets(tmp_path / "all", {})
    drop_s3_logins(tmp_path / "all")
    create(tmp_path, MINE)
    after = resolve_secrets(tmp_path / "all", {})
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {each for user in S3_USERS for each in halves(user)} - halves("s3")


def test_the_signing_key_is_rotated_in_two_steps_of_which_each_can_be_repeated(tmp_path: Path) -> None:
    create(tmp_path, {})
    old = load_keys(key_variables(tmp_path))
    for step, known in ((rotate_keys, 2), (drop_old_key, 1), (drop_old_key, 1)):
        step(tmp_path / "all")
        create(tmp_path, {})
        keys = load_keys(key_variables(tmp_path))
        assert (len(keys.verifying), old.ids()[0] in keys.ids()) == (known, known == 2)
        assert keys.verifies(b"text", keys.sign(b"text"))
        for service in ("airflow", "serving"):
            path = tmp_path / service / "verify.pem"
            assert load_keys({"UPDRAFT_VERIFY_KEY": str(path)}).ids() == keys.ids()
    rotate_keys(tmp_path / "all")
    with pytest.raises(UserError, match="a rotation is under way; drop-old-key ends it"):
        rotate_keys(tmp_path / "all")


def key_variables(root: Path) -> dict[str, str]:
    return {f"UPDRAFT_{name.upper()}_KEY": str(root / "tasks" / f"{name}.pem") for name in ("signing", "verify")}


def test_nothing_is_written_while_the_data_is_half_restored(tmp_path: Path) -> None:
    (tmp_path / RESTORING).touch()
    with pytest.raises(UserError, match="a restore was interrupted"):
        create(tmp_path, {})
    assert [each.name for each in tmp_path.iterdir()] == [RESTORING]


def test_a_login_for_another_s3_server_is_not_stored_as_ours(tmp_path: Path) -> None:
    before = resolve_secrets(tmp_path, {})
    there = folders_for(tmp_path, **ELSEWHERE, **MINE)
    for name in WITH_S3:
        assert env(there[name])["AWS_SECRET_ACCESS_KEY"] == MINE["S3_SECRET_KEY"]
    assert "AWS_ACCESS_KEY_ID" not in env(there["airflow"])
    assert resolve_secrets(tmp_path, {}) == before
    with_role = folders_for(tmp_path, S3_ENDPOINT="")
    assert not any("AWS_ACCESS_KEY_ID" in env(with_role[name]) for name in WITH_S3)


def test_another_s3_server_may_have_a_login_for_each_purpose(tmp_path: Path) -> None:
    theirs = {"S3_READER_ACCESS_KEY": "READER", "S3_READER_SECRET_KEY": "of-the-reader"}
    there = folders_for(tmp_path, **ELSEWHERE, **MINE, **theirs)
    logins = {name: env(there[name])["AWS_ACCESS_KEY_ID"] for name in WITH_S3}
    assert logins == dict.fromkeys(WITH_S3, MINE["S3_ACCESS_KEY"]) | {"serving": "READER"}
    alone = folders_for(tmp_path, **ELSEWHERE, **theirs)
    assert [name for name in WITH_S3 if "AWS_ACCESS_KEY_ID" in env(alone[name])] == ["serving"]


def test_our_s3_servers_logins_are_restricted_to_the_configured_buckets(tmp_path: Path) -> None:
    got = folders_for(tmp_path, UPDRAFT_REGISTRY="s3://models/a", UPDRAFT_LOGS="s3://models/b")
    may = {each["name"]: each["actions"] for each in json.loads(got["s3"].files["s3.json"])["identities"]}
    assert may["s3_reader"] == ["Read:models", "List:models"]
    assert may["s3_shipper"] == [f"{verb}:updraft-predictions" for verb in ("Read", "Write", "List")]
    assert may["s3_api"].count("Write:models") == 1  # both are in it
    others = {f"updraft-{name}" for name in ("artifacts", "datasets", "predictions")}
    assert {action.split(":")[1] for action in may["s3"]} == {"models", *others}
    assert [user for user in may if any("Admin" in action for action in may[user])] == ["s3_init"]
    assert not any(action.startswith("Write") for action in may["s3_init"])


def test_prometheus_gets_an_api_key_of_its_own_where_keys_are_used(tmp_path: Path) -> None:
    values = resolve_secrets(tmp_path, {})
    files = folders(values, {"SERVING_API_KEYS": "ann:a-key-of-anns"}, KEYS)["serving"].files
    assert files["api_keys"] == f"ann:a-key-of-anns\nprometheus:{values['metrics_key']}\n"
    assert "api_keys" not in folders(values, {}, KEYS)["serving"].files


def test_the_token_of_feature_stores_reaches_the_service_alone(tmp_path: Path) -> None:
    values = resolve_secrets(tmp_path, {})
    made = folders(values, {"SERVING_FEATURES_TOKEN": "of-the-store"}, KEYS)
    having = [name for name, folder in made.items() if any("of-the-store" in text for text in folder.files.values())]
    assert having == ["serving"]
    assert env(made["serving"])["SERVING_FEATURES_TOKEN"] == "of-the-store"


def test_passwords_are_escaped_in_urls_and_files(tmp_path: Path) -> None:
    odd = 'p@ss:w/rd? #%41"\\$'
    got = folders_for(tmp_path, POSTGRES_PASSWORD=odd, MONGODB_PASSWORD=odd, REDIS_PASSWORD=odd)
    airflow = env(got["airflow"])
    for name in ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "MONGODB_URL", "AIRFLOW__CELERY__BROKER_URL"):
        assert unquote(urlsplit(airflow[name]).password or "") == odd, name
    assert json.dumps(odd) in got["mongodb-init"].files["user.js"]
    assert got["redis"].files["redis.conf"] == 'requirepass "p@ss:w/rd? #%41\\"\\\\$"\n'
