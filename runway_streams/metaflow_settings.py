"""MetaflowSettings: where Metaflow keeps its metadata and artifacts, and how we show it who asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runway_streams.errors import ConfigError

VARIABLES = {
    "RUNWAY_METAFLOW": "place",
    "RUNWAY_METAFLOW_KEY": "key",
    "RUNWAY_METAFLOW_TOKEN": "token",
    "RUNWAY_METAFLOW_DATASTORE": "datastore",
}


@dataclass(frozen=True, slots=True)
class MetaflowSettings:
    """`place` is the metadata service, http://HOST:PORT or https://HOST, or the folder of a local one; `datastore` is where
    artifacts lie, a folder or a URL such as s3://BUCKET/PREFIX, by default that folder. Nothing secret is in `repr`. Raises
    ConfigError.

    >>> MetaflowSettings("/var/lib/.metaflow").datastore_url
    'file:///var/lib/.metaflow'
    >>> MetaflowSettings("http://m", datastore="s3://models/metaflow").datastore_url
    's3://models/metaflow'
    >>> MetaflowSettings("https://metaflow.example.com", key="secret")
    MetaflowSettings(place='https://metaflow.example.com', datastore='')
    """

    place: str
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    datastore: str = ""

    def __post_init__(self) -> None:
        if not self.is_service and not Path(self.place).is_absolute():
            raise ConfigError(
                f"RUNWAY_METAFLOW is {self.place!r}.", "Give http://HOST:PORT, https://HOST, or a folder's path."
            )
        if self.datastore and "://" not in self.datastore and not Path(self.datastore).is_absolute():
            remedy = "Give the path of a folder, or a URL such as s3://BUCKET/PREFIX."
            raise ConfigError(f"RUNWAY_METAFLOW_DATASTORE is {self.datastore!r}.", remedy)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "MetaflowSettings | None":
        """The RUNWAY_METAFLOW* variables; None where RUNWAY_METAFLOW is not set.

        >>> MetaflowSettings.from_env({"RUNWAY_METAFLOW": "http://m:8080"}).is_service
        True
        """
        if not environ.get("RUNWAY_METAFLOW"):
            return None
        return cls(**{name: environ[variable] for variable, name in VARIABLES.items() if environ.get(variable)})

    @property
    def is_service(self) -> bool:
        """Whether it is asked over HTTP."""
        return self.place.startswith(("http://", "https://"))

    @property
    def datastore_url(self) -> str:
        """Where artifacts lie, "" where nobody has said."""
        place = self.datastore or ("" if self.is_service else self.place)
        return place if "://" in place or not place else Path(place).as_uri()
