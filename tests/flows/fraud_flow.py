"""A downstream model whose run says by tags what it read:

fraud_flow.py run --tag runway:model:fraud --tag runway:feature:payments/amount --tag runway:upstream-model:device-risk@2026.02
"""

from metaflow import FlowSpec, Parameter, step


class FraudFlow(FlowSpec):
    """Numbers of its end are its metrics, and its model is kept elsewhere."""

    depth = Parameter("depth", default=6)

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.auc = 0.93
        self.rows = 1000
        self.passed = True
        self.model = "s3://reader:s3cret@models/fraud/7.bin?X-Amz-Signature=s3cret"


if __name__ == "__main__":
    FraudFlow()
