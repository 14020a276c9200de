"""Errors that a person must act on. Everything else is a bug, and crashes with its traceback."""


class RunwayError(Exception):
    """What happened and where, as one sentence; `remedy` says what to do.

    >>> str(RunwayError("Kafka at localhost:9092 cannot be reached.", "Start it with `runway up`."))
    'Kafka at localhost:9092 cannot be reached. Start it with `runway up`.'
    """

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(f"{sentence} {remedy}".strip())
        self.sentence = sentence
        self.remedy = remedy


class ConfigError(RunwayError):
    """A setting or an argument cannot be used as it is."""


class DependencyDown(RunwayError):
    """Kafka, a database or the archive does not answer; trying again later can help."""


class TooSlow(DependencyDown):
    """It has not answered this within its limits of time or memory; whether it answers anything else is not known by that."""


class Refused(RunwayError):
    """A process or a partition does not go on, because its answers would be wrong."""
