"""A run whose last step failed, which Metaflow caught: it goes on to its end, and is no success."""

from metaflow import FlowSpec, catch, step


class CaughtFlow(FlowSpec):
    """Fails at its end, and carries on."""

    @step
    def start(self):
        self.next(self.end)

    @catch(var="failure")
    @step
    def end(self):
        raise ValueError("no data")


if __name__ == "__main__":
    CaughtFlow()
