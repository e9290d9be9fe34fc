"""CloudFormation templates of deploy/aws/, as they are read, and stacks of them in an AWS of moto's.

moto makes buckets, repositories and roles, with their names, encryption, permissions and trust. It leaves out what it
does not know of (versioning, lifecycles, bucket policies, scans): of these, tests read the template.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import requests
import yaml

from tests.support.servers import server
from updraft.defaults import ROOT
from updraft.local_stack.servers import free_port

TEMPLATES = ROOT / "deploy" / "aws"
ACCESS = {"StorageStack": "storage", "Repository": "my-org/my-repository"}


class _ShortForms(yaml.SafeLoader):
    """Reads CloudFormation's functions: !Ref x as {"Ref": x}."""


def _function(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    return {name: loader.construct_sequence(node, deep=True)}


_ShortForms.add_multi_constructor("!", _function)


def template(name: str) -> dict[str, Any]:
    """Read a template."""
    return dict(yaml.load((TEMPLATES / f"{name}.yaml").read_text(encoding="utf-8"), _ShortForms))


def resources(name: str, kind: str) -> dict[str, Any]:
    """Return the properties of a template's resources of one kind, by their logical names."""
    found = template(name)["Resources"].items()
    return {each: spec.get("Properties", {}) for each, spec in found if spec["Type"] == kind}


class Aws:
    """An account: its clients, and stacks by the names of their templates."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def client(self, service: str) -> Any:
        return boto3.session.Session().client(
            service, endpoint_url=self.endpoint, region_name="eu-central-1", aws_access_key_id="x",
            aws_secret_access_key="y",
        )  # fmt: skip

    def empty(self) -> None:
        """Forget everything, for the next test: a server of moto's takes seconds to start."""
        requests.post(f"{self.endpoint}/moto-api/reset", timeout=30).raise_for_status()

    def apply(self, template: str, **parameters: str) -> dict[str, str]:
        """Create a stack, or update it; return its outputs."""
        formation, name = self.client("cloudformation"), template
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        what = {"StackName": name, "Parameters": given, "Capabilities": ["CAPABILITY_IAM"]}
        body = (TEMPLATES / f"{template}.yaml").read_text(encoding="utf-8")
        there = {each["StackName"] for each in formation.describe_stacks()["Stacks"]}
        (formation.update_stack if name in there else formation.create_stack)(TemplateBody=body, **what)
        (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), stack
        return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}

    def policies(self, role_arn: str) -> list[dict[str, Any]]:
        """Return the statements of all policies of a role."""
        iam, role = self.client("iam"), role_arn.rpartition("/")[2]
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        assert not iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        found = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
        # Of a policy that stands in its role moto keeps the text of a Python dictionary.
        documents = [each if isinstance(each, dict) else ast.literal_eval(each) for each in found]
        return [statement for document in documents for statement in document["Statement"]]

    def trust(self, role_arn: str) -> dict[str, Any]:
        """Return the one statement that says who may take a role."""
        role = self.client("iam").get_role(RoleName=role_arn.rpartition("/")[2])["Role"]
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        return dict(statement)


@contextmanager
def aws(folder: Path) -> Iterator[Aws]:
    """Run an AWS without anything in it."""
    port = free_port()
    with server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, folder / "moto.log"):
        yield Aws(f"http://127.0.0.1:{port}")
