"""`updraft registry …` on a real registry: what it prints, what it does, and how it fails."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.servers import LOGIN
from updraft.cli.registry import app
from updraft.local_stack.servers import free_port
from updraft.registry import judgements
from updraft.registry.registry import Registry

NAME = "vehicle_insurance"
NEXT = f"Next: updraft registry show {NAME}\n"
Run = Callable[..., Result]


@pytest.fixture
def run(registry_environ: dict[str, str]) -> Run:
    """A function that runs `updraft registry` with the environment of the test's registry."""

    def run(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(app, arguments, env={**registry_environ, "COLUMNS": "200", **environ})

    return run


@pytest.fixture
def two_versions(registry: Registry, tmp_path: Path) -> Registry:
    """A registry with two versions, none in production."""
    for number in (1, 2):
        folder = tmp_path / f"model{number}"
        folder.mkdir()
        (folder / "model.joblib").write_bytes(b"model %d" % number)
        registry.push(NAME, folder, {"metrics": {"roc_auc": 0.85}}, f"[run] {number}")
    return registry


def test_promote_and_roll_back(run: Run, two_versions: Registry) -> None:
    for number, line in (
        ("1", "production is version 1 now (was nothing)"),
        ("2", "production is version 2 now (was 1)"),
    ):
        promoted = run("promote", NAME, number, "--why", "it is better")
        assert (promoted.exit_code, promoted.stdout) == (0, f"{NAME}: {line}\n{NEXT}")
    again = run("promote", NAME, "2", "--why", "twice")
    assert (again.exit_code, again.stdout) == (0, f"{NAME}: version 2 is in production already\n{NEXT}")
    back = run("rollback", NAME, "--why", "it is worse")
    assert (back.exit_code, back.stdout) == (0, f"{NAME}: production is version 1 again; version 2 is held\n{NEXT}")
    assert two_versions.production(NAME) == 1
    last = two_versions.history(NAME)[-1]
    assert (last.who, last.why, last.action) == (getpass.getuser(), "it is worse", "rollback")


def test_list(run: Run, two_versions: Registry) -> None:
    two_versions.promote(NAME, 2, expect=None, who="a test", why="better")
    table = run("list").stdout
    assert [NAME in line and "[run]" in line for line in table.splitlines()].count(True) == 2
    assert "[run] 2" in next(line for line in table.splitlines() if "production" in line and NAME in line)
    rows = json.loads(run("list", NAME, "--json").stdout)
    assert [(row["name"], row["version"], row["production"]) for row in rows] == [(NAME, 1, False), (NAME, 2, True)]


def test_show(run: Run, two_versions: Registry) -> None:
    two_versions.promote(NAME, 2, expect=None, who="a test", why="[bold]better[/bold]")
    shown = run("show", NAME).stdout
    for text in ("vehicle_insurance version 2 (in production)", "[run] 2", "roc_auc", "model.joblib", "[bold]better"):
        assert text in shown
    one = json.loads(run("show", NAME, "1", "--json").stdout)
    assert (one["version"], one["production"], one["manifest"]["metrics"]) == (1, False, {"roc_auc": 0.85})
    assert [move["production"] for move in one["history"]] == [2]


def test_show_says_what_a_lost_race_came_to(run: Run, two_versions: Registry) -> None:
    bucket, keys = two_versions.bucket, two_versions.keys
    judgements.write(bucket, keys, NAME, 1, "reject", "version 2 is [bold]better[/bold]", "airflow:train")
    assert "reject: version 2 is [bold]better[/bold]" in run("show", NAME, "1").stdout
    assert json.loads(run("show", NAME, "1", "--json").stdout)["judged_again"]["decision"] == "reject"
    assert json.loads(run("show", NAME, "2", "--json").stdout)["judged_again"] is None
    run("sign", NAME)
    assert json.loads(run("show", NAME, "1", "--json").stdout)["judged_again"]["decision"] == "reject"
    copied, _ = bucket.get(f"{NAME}/versions/0001/judged_again.json") or (b"", "")
    bucket.put(f"{NAME}/versions/0002/judged_again.json", copied)
    shown = run("show", NAME, "2")
    assert (shown.exit_code, shown.stderr.count("\n")) == (0, 1) and "is a copy from" in shown.stderr


def test_what_is_held_says_so_and_force_lifts_it(run: Run, two_versions: Registry) -> None:
    for number in ("1", "2"):
        assert run("promote", NAME, number, "--why", "better").exit_code == 0
    run("rollback", NAME, "--why", "2 is bad")
    row = next(line for line in run("list", NAME).stdout.splitlines() if "[run] 2" in line)
    assert "held" in row and "2 is bad" in row
    shown = run("show", NAME, "2")
    assert "version 2 (held)" in shown.stdout and f"by {getpass.getuser()} on" in shown.stdout
    assert json.loads(run("show", NAME, "2", "--json").stdout)["state"] == "held"
    refused = run("promote", NAME, "2", "--why", "again")
    assert (refused.exit_code, refused.stdout) == (1, "") and "2 is bad; --force" in refused.stderr
    forced = run("promote", NAME, "2", "--why", "it was good", "--force")
    assert forced.exit_code == 0 and "the hold is lifted: held as version 2" in forced.stdout
    held = run("hold", NAME, "1", "--why", "old")
    assert (held.exit_code, held.stdout.splitlines()[0]) == (0, f"{NAME}: version 1 is held")
    removed = run("remove", NAME, "--why", "replaced")
    assert (removed.exit_code, two_versions.production(NAME)) == (0, None)
    assert [row["state"] for row in json.loads(run("list", "--json").stdout)] == ["held", "former"]


def test_a_version_is_tried_finished_and_taken_back(run: Run, two_versions: Registry) -> None:
    refused = run("rollout", NAME, "2", "--why", "look")
    assert (refused.exit_code, refused.stdout) == (1, "") and "nothing is in production beside" in refused.stderr
    run("promote", NAME, "1", "--why", "the first")
    started = run("rollout", NAME, "2", "--mode", "canary", "--percent", "10", "--why", "wins")
    assert (started.exit_code, started.stderr) == (0, "")
    assert started.stdout.startswith(f"{NAME}: version 2 is in a rollout beside version 1: canary 10 % since ")
    assert "Next: updraft registry finish" in started.stdout
    assert "canary 10 % since" in next(line for line in run("list", NAME).stdout.splitlines() if "rollout" in line)
    shown = run("show", NAME, "2").stdout
    assert "version 2 (rollout)" in shown and "canary 10 % since" in shown
    assert json.loads(run("show", NAME, "--json").stdout)["rollout"]["version"] == 2
    aborted = run("abort", NAME, "--why", "slow")
    line = f"{NAME}: version 2 is held; version 1 answers all requests\n{NEXT}"
    assert (aborted.exit_code, aborted.stdout) == (0, line)
    again = run("rollout", NAME, "2", "--why", "look again")
    assert again.exit_code == 1 and "version 2 is held by " in again.stderr
    forced = run("rollout", NAME, "2", "--why", "look again", "--force")
    assert "beside version 1: shadow since " in forced.stdout and "the hold is lifted: held as" in forced.stdout
    finished = run("finish", NAME, "--why", "as good")
    assert (finished.exit_code, finished.stdout) == (0, f"{NAME}: production is version 2 now (was 1)\n{NEXT}")
    assert json.loads(run("show", NAME, "--json").stdout)["rollout"] is None


def test_prune_shows_first_and_deletes_on_demand(run: Run, two_versions: Registry) -> None:
    shown = run("prune", NAME, "--keep", "1")
    assert (shown.exit_code, shown.stdout.splitlines()) == (
        0,
        [f"{NAME}: would be deleted: 1 (0.0 MB)", f"Next: updraft registry prune {NAME} --keep 1 --yes"],
    )
    assert two_versions.numbers(NAME) == [1, 2]
    assert f"{NAME}: deleted: 1 (0.0 MB)" in run("prune", NAME, "--keep", "1", "--yes").stdout
    assert two_versions.numbers(NAME) == [2]
    assert f"{NAME}: would be deleted: none" in run("prune", NAME).stdout


def test_an_unverified_manifest_does_not_steer_the_terminal(run: Run, two_versions: Registry) -> None:
    key = f"{NAME}/versions/0001/manifest.json"
    manifest, _ = two_versions.bucket.get(key) or (b"", "")
    for content in (
        manifest.replace(b"[run] 1", b"\\u001b]0;owned\\u0007"),
        b'{"run_id": ' + b'{"a": ' * 900 + b"1" + b"}" * 901,
        b'{"files": {"model.joblib": {"size": "x"}}, "created_at": ["\\u001b[2J"]}',
    ):
        two_versions.bucket.put(key, content)
        for arguments in (["list", NAME], ["show", NAME, "1"]):
            shown = run(*arguments)
            assert (shown.exit_code, shown.stderr) == (0, "")
            assert "\x1b" not in shown.stdout and "\x07" not in shown.stdout


def test_sign_takes_a_use_case_or_all(run: Run, two_versions: Registry) -> None:
    run("promote", NAME, "1", "--why", "better")
    for arguments in ([NAME], ["--all"]):
        signed = run("sign", *arguments)
        assert (signed.exit_code, signed.stdout) == (
            0,
            f"{NAME}: 2 versions and 1 moves signed; version 1 is in production\nNext: updraft registry keys\n",
        )
    for arguments in ([], [NAME, "--all"]):
        assert "expected a use case, or --all" in run("sign", *arguments).stderr


def test_a_broken_history_is_one_line_and_hides_no_version(run: Run, two_versions: Registry) -> None:
    run("promote", NAME, "1", "--why", "better")
    two_versions.bucket.put(f"{NAME}/history/000001.json", b"[" * 5_000)
    listed = run("list", "--json")
    assert [row["state"] for row in json.loads(listed.stdout)] == ["unknown", "unknown"]
    for failed in (listed, run("show", NAME, "1"), run("promote", NAME, "2", "--why", "x")):
        assert f"{NAME}/history/000001.json is not a JSON object" in failed.stderr
        assert failed.stderr.count("\n") == 1


def test_verify_names_the_version_that_is_refused(run: Run, two_versions: Registry) -> None:
    assert run("verify", NAME).exit_code == 0
    two_versions.bucket.put(f"{NAME}/versions/0001/model.joblib", b"another")
    checked = run("verify", NAME)
    assert checked.exit_code == 1
    assert checked.stdout == f"{NAME} version 2: signature and files are right\n"
    assert checked.stderr.startswith(
        f"updraft: refused: {NAME} version 1: 'model.joblib' is not the file that was signed"
    )
    assert run("verify", NAME, "2").exit_code == 0
    refused = run("promote", NAME, "1", "--why", "do not look")
    assert (refused.exit_code, two_versions.production(NAME)) == (1, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list"], "registry: no version in s3://"),
        (["list", "Vehicle"], "'Vehicle' is not a use case"),
        (["show", NAME], f"{NAME}: nothing is in production; name a version"),
        (["show", NAME, "3"], f"{NAME}: there is no version 3 in s3://"),
        (["promote", NAME, "3", "--why", "x"], f"{NAME}: there is no version 3 in s3://"),
        (["rollback", NAME, "--why", "x"], f"{NAME}: nothing is in production"),
        (["verify", NAME], f"{NAME}: no version in s3://"),
        (["rollout", NAME, "3", "--why", "x"], f"{NAME}: there is no version 3 in s3://"),
        (["finish", NAME, "--why", "x"], f"{NAME}: no version is in a rollout"),
        (["abort", NAME, "--why", "x"], f"{NAME}: no version is in a rollout"),
        (["import", "/none/models.tar"], "/none/models.tar: no such file; expected one that `updraft registry export`"),
    ],
)
def test_a_mistake_is_one_line(run: Run, arguments: list[str], message: str) -> None:
    failed = run(*arguments)
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.startswith(f"updraft: {message}")
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"UPDRAFT_REGISTRY": ""}, "UPDRAFT_REGISTRY: '' is not s3://bucket"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "S3: An error occurred (SignatureDoesNotMatch)"),
        ({"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}"}, "S3: Could not connect to the endpoint URL"),
    ],
)
def test_what_cannot_be_reached_is_one_line_without_a_secret(run: Run, environ: dict[str, str], message: str) -> None:
    failed = run("list", **environ)
    assert failed.exit_code == 1
    assert failed.stderr.startswith(f"updraft: {message}")
    assert failed.stderr.count("\n") == 1
    assert LOGIN["AWS_SECRET_ACCESS_KEY"] not in failed.output


def test_a_move_needs_a_reason(run: Run) -> None:
    failed = run("promote", NAME, "1")
    assert failed.exit_code == 2
    assert "--why" in failed.stderr


def test_a_registry_moves_in_a_file(
    run: Run, two_versions: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    run("promote", NAME, "1", "--why", "good")
    run("hold", NAME, "2", "--why", "bad")
    file, there = str(tmp_path / "models.tar"), {"UPDRAFT_REGISTRY": f"{registry_environ['UPDRAFT_REGISTRY']}-there"}
    exported = run("export", file)
    assert exported.exit_code == 0, exported.stderr
    assert f"{NAME}: 2 versions and 2 moves exported; version 1 in production, 1 held" in exported.stdout
    assert "exists; --force overwrites it" in run("export", file).stderr
    checked = run("import", file, "--check", **there)
    assert (checked.exit_code, "verified, signed with the key" in checked.stdout) == (0, True)
    assert "no version" in run("list", **there).stderr
    for line in ("2 versions and 2 moves imported;", "0 versions and 0 moves imported, 2 skipped (the same here);"):
        imported = run("import", file, **there)
        assert imported.exit_code == 0, imported.stderr
        assert f"{NAME}: {line} version 1 in production, 1 held" in imported.stdout
    assert "held" in run("list", NAME, **there).stdout
    Path(file).write_bytes(Path(file).read_bytes().replace(b"model 2", b"model X"))
    refused = run("import", file, **there)
    assert refused.exit_code == 1 and refused.stdout == ""
    assert refused.stderr.splitlines()[-1].endswith(
        f"member '{NAME}/versions/0002/model.joblib' was changed: its sha256 differs"
    )
