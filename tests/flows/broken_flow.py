"""A run that fails: it makes no version."""

from metaflow import FlowSpec, step


class BrokenFlow(FlowSpec):
    """Fails at its end."""

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        raise ValueError("no data")


if __name__ == "__main__":
    BrokenFlow()
