"""A clock that stands still until a test moves it."""


class Clock:
    """Its time in ms; what takes a clock calls it."""

    def __init__(self, ms: int = 1_000_000):
        self.ms = ms

    def __call__(self) -> int:
        return self.ms
