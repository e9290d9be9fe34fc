"""The image `serving`, built as SERVING_TARGET=serving has Compose build it; no stack is started."""

from __future__ import annotations

import pytest

from tests.support.compose_stack import ComposeStack, docker
from tests.support.slim_image import STARTS


@pytest.mark.usefixtures("starts_compose")
def test_compose_builds_a_smaller_image_that_loads_without_what_pipelines_need() -> None:
    sizes = {}
    for target in ("serving", "serving-full"):
        stack = ComposeStack(SERVING_TARGET=target)
        image = f"{stack.project}-serving"
        try:
            stack.compose("build", "serving")
            found = docker("run", "--rm", "--entrypoint", "python", image, "-c", STARTS).split()
            sizes[target] = int(docker("image", "inspect", "--format", "{{.Size}}", image))
        finally:
            docker("image", "rm", "--force", image, check=False)
        assert found == ([] if target == "serving" else ["joblib", "pandas", "sklearn", "scipy"])
    assert sizes["serving-full"] - sizes["serving"] > 100e6
