"""A flow that makes features: a dataset goes in, two features come out, and no model is made."""

import json

from metaflow import FlowSpec, step


class FeatureFlow(FlowSpec):
    """Says what it read and wrote in the artifact."""

    @step
    def start(self):
        self.runway_lineage = json.dumps({
            "schema": "runway.lineage/1",
            "inputs": [{"type": "dataset", "namespace": "s3://lake", "name": "raw/payments"}],
            "outputs": [
                {"type": "feature", "namespace": "payments", "name": "amount"},
                {"type": "feature", "namespace": "payments", "name": "count_7d"},
            ],
        })  # fmt: skip
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    FeatureFlow()
