"""A downstream model of which the graph alone tells: it waits for two flows, and its artifact and its model are bad."""

import os

from metaflow import FlowSpec, step, trigger_on_finish


class Trap:
    """Whoever unpickles it makes a folder, and so is found out."""

    def __reduce__(self):
        return os.mkdir, (os.environ["RUNWAY_TRAP"],)


@trigger_on_finish(flows=["DeviceRiskFlow", "FraudFlow"])
class LimitsFlow(FlowSpec):
    """Its artifact holds an object where a JSON string belongs."""

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        self.runway_lineage = Trap()
        self.model = Trap()


if __name__ == "__main__":
    LimitsFlow()
