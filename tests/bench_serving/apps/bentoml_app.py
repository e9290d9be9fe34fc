"""The model behind BentoML, which gathers rows of several requests into a batch."""

from typing import Any

import bentoml


@bentoml.service(workers=1, traffic={"timeout": 120})
class Batched:
    def __init__(self) -> None:
        import pipeline

        self.pipeline = pipeline

    @bentoml.api(batchable=True)
    def predict(self, rows: list[dict[str, Any]]) -> list[Any]:
        return self.pipeline.predict(self.pipeline.frame(rows)).tolist()
