"""The upstream model: it waits for the features, branches, and says at its end what it made; the model lies in the datastore."""

import json

from metaflow import FlowSpec, Parameter, step, trigger_on_finish


@trigger_on_finish(flow="FeatureFlow")
class DeviceRiskFlow(FlowSpec):
    """Says everything in artifacts."""

    rate = Parameter("rate", default=0.1)
    kind = Parameter("kind", default="tree")

    @step
    def start(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.weight = 1.0
        self.next(self.join)

    @step
    def right(self):
        self.weight = 2.0
        self.next(self.join)

    @step
    def join(self, inputs):
        self.weights = [one.weight for one in inputs]
        self.next(self.end)

    @step
    def end(self):
        self.model = {"weights": self.weights}
        self.runway_metrics = json.dumps({"auc": 0.91})
        self.runway_training_interval = json.dumps({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"})
        self.runway_lineage = json.dumps({
            "schema": "runway.lineage/1",
            "model": {"name": "device-risk", "version": "2026.02"},
            "inputs": [{"type": "feature", "namespace": "payments", "name": "count_7d"}],
            "outputs": [{"type": "dataset", "namespace": "s3://lake", "name": "scores/device-risk"}],
        })  # fmt: skip


if __name__ == "__main__":
    DeviceRiskFlow()
