"""The CloudFormation templates: clean for cfn-lint, and stacks of them created, updated and deleted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.support.aws_stacks import ACCESS, TEMPLATES, Aws, aws, resources, template

BUCKETS = {"models", "datasets", "predictions", "artifacts", "logs"}
ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/ABC123"


@pytest.fixture(scope="module")
def running(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with aws(tmp_path_factory.mktemp("aws")) as server:
        yield server


@pytest.fixture
def account(running: Aws) -> Aws:
    running.empty()
    return running


@pytest.mark.usefixtures("takes_long")
def test_the_templates_are_clean() -> None:
    templates = sorted(map(str, TEMPLATES.glob("*.yaml")))
    assert len(templates) == 2
    command = [Path(sys.executable).with_name("cfn-lint"), *templates]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_buckets_are_private_versioned_and_of_one_owner() -> None:
    buckets = resources("storage", "AWS::S3::Bucket")
    assert {name.lower() for name in buckets} == BUCKETS
    for each in buckets.values():
        assert each["VersioningConfiguration"] == {"Status": "Enabled"}
        access = each["PublicAccessBlockConfiguration"]
        assert len(access) == 4 and set(access.values()) == {True}
        assert each["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_buckets_are_only_reached_by_tls() -> None:
    policies = resources("storage", "AWS::S3::BucketPolicy").values()
    assert {each["Bucket"]["Ref"].lower() for each in policies} == BUCKETS
    for each in policies:
        name = each["Bucket"]["Ref"]
        (only,) = each["PolicyDocument"]["Statement"]
        assert (only["Effect"], only["Principal"], only["Action"]) == ("Deny", "*", "s3:*")
        assert only["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert only["Resource"] == [{"GetAtt": f"{name}.Arn"}, {"Sub": f"${{{name}.Arn}}/*"}]


def test_buckets_are_encrypted_and_named_after_the_account(account: Aws) -> None:
    account.apply("storage", Prefix="forecasts")
    s3 = account.client("s3")
    names = [each["Name"] for each in s3.list_buckets()["Buckets"]]
    assert set(names) == {f"forecasts-{name}-123456789012" for name in BUCKETS}
    for name in names:
        (rule,) = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_models_and_datasets_never_expire_and_what_was_replaced_can_be_had_back() -> None:
    for name, each in resources("storage", "AWS::S3::Bucket").items():
        rules = {rule["Id"]: rule for rule in each["LifecycleConfiguration"]["Rules"]}
        assert {rule["Status"] for rule in rules.values()} == {"Enabled"}
        assert rules.pop("unfinished-uploads")["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
        (rule,) = rules.values()
        days = rule.get("ExpirationInDays"), rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        kept = dict.fromkeys(("Models", "Datasets"), (None, {"Ref": "RecoveryDays"})) | {"Predictions": (None, 7)}
        assert days == kept.get(name, ({"Ref": "RunDays"}, 7))


def test_image_tags_never_move_and_images_are_scanned(account: Aws) -> None:
    for each in resources("storage", "AWS::ECR::Repository").values():
        assert each["ImageScanningConfiguration"] == {"ScanOnPush": True}
        (rule,) = json.loads(each["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert rule["selection"]["tagStatus"] == "untagged"  # what has a tag may be what is deployed
    account.apply("storage")
    repositories = account.client("ecr").describe_repositories()["repositories"]
    assert {each["repositoryName"] for each in repositories} == {"updraft-airflow", "updraft-serving"}
    assert {each["imageTagMutability"] for each in repositories} == {"IMMUTABLE"}


def test_deployments_come_from_one_environment_of_one_repository(account: Aws) -> None:
    account.apply("storage")
    host = "token.actions.githubusercontent.com"
    provider = f"arn:aws:iam::123456789012:oidc-provider/{host}"
    trust = account.trust(account.apply("access", **ACCESS, GitHubProvider=provider)["Deploy"])
    assert (trust["Action"], trust["Principal"]) == ("sts:AssumeRoleWithWebIdentity", {"Federated": provider})
    assert trust["Condition"] == {
        "StringEquals": {
            f"{host}:aud": "sts.amazonaws.com",
            f"{host}:sub": "repo:my-org/my-repository:environment:production",
        }
    }
    (own,) = resources("access", "AWS::IAM::OIDCProvider").values()
    assert own == {"Url": f"https://{host}", "ClientIdList": ["sts.amazonaws.com"]}


def test_only_lists_and_logins_are_allowed_on_everything(account: Aws) -> None:
    account.apply("storage")
    roles = account.apply("access", **ACCESS, EksCluster="models")
    for role in ("Trainer", "Service", "Deploy"):
        for statement in account.policies(roles[role]):
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            assert not any("*" in action for action in actions)
            if statement["Resource"] == "*":
                assert actions == ["ecr:GetAuthorizationToken"]  # which AWS allows on nothing narrower
            else:
                assert "*" not in str(statement["Resource"]).replace("/*", "")
    (look_up,) = (each for each in account.policies(roles["Deploy"]) if each["Action"] == "eks:DescribeCluster")
    assert look_up["Resource"].endswith(":cluster/models")


def test_on_ec2_roles_are_for_instances_and_an_update_to_eks_takes_their_profiles_away(account: Aws) -> None:
    account.apply("storage")
    roles = account.apply("access", **ACCESS)
    assert account.trust(roles["Service"])["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert {"ServiceInstances", "TrainerInstances"} <= roles.keys()
    assert account.apply("access", **ACCESS, EksIssuer=ISSUER).keys() == {"Trainer", "Triggerer", "Service", "Deploy"}


def test_on_eks_a_role_is_for_service_accounts_by_name(account: Aws) -> None:
    account.apply("storage")
    roles = account.apply("access", **ACCESS, EksIssuer=ISSUER)
    prefix = "system:serviceaccount:updraft:"
    subjects: dict[str, str | list[str]] = {
        "Service": f"{prefix}serving",
        "Trainer": [f"{prefix}airflow", f"{prefix}airflow-api-server"],
        "Triggerer": f"{prefix}airflow-triggerer",
    }
    for role, subject in subjects.items():
        trust = account.trust(roles[role])
        assert trust["Principal"]["Federated"] == f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"
        expected = {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": subject}
        assert trust["Condition"] == {"StringEquals": expected}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Repository", "anything/*"),
        ("Environment", "*"),
        ("EksIssuer", "*"),
        ("Namespace", "a*"),
        ("EksCluster", "*"),
        ("Mirror", "a*"),
    ],
)
def test_a_parameter_cannot_open_a_role_to_more(name: str, value: str) -> None:
    assert not re.fullmatch(template("access")["Parameters"][name]["AllowedPattern"], value)  # moto does not look


def test_deleted_stacks_leave_the_models_and_no_role(account: Aws) -> None:
    account.apply("storage")
    account.apply("access", **ACCESS)
    formation, s3 = account.client("cloudformation"), account.client("s3")
    (models,) = (each["Name"] for each in s3.list_buckets()["Buckets"] if "-models-" in each["Name"])
    s3.put_object(Bucket=models, Key="vehicle_insurance/production.json", Body=b"{}")
    for name in ("access", "storage"):
        formation.delete_stack(StackName=name)
        with pytest.raises(ClientError, match="does not exist"):
            formation.describe_stacks(StackName=name)
    assert account.client("iam").list_roles()["Roles"] == []
    assert account.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert s3.get_object(Bucket=models, Key="vehicle_insurance/production.json")["Body"].read() == b"{}"
    assert len(account.client("ecr").describe_repositories()["repositories"]) == 2
