"""The port to the engines of the nightly batch: what the job needs of SQL over the Parquet files of the lake.

To add an engine: implement `Engine`, say its `$words` in a `Dialect` (`batch/statements.py`), give `runway batch --engine`
a name for it, and put it beside the others in `tests/batch/test_engines.py`; the one suite there is the contract: the same
log gives the same view.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from batch import statements
from batch.lake import Lake
from batch.statements import Dialect


@dataclass(frozen=True, slots=True)
class Written:
    """A Parquet file that an engine has put into the lake; `times` is the least and the largest of what was asked for."""

    path: str
    rows: int
    times: tuple[int, int]


class Engine(Protocol):
    """One run's tables and views in an SQL engine. Nothing of them outlives the run but the files that were written.

    Queries are SQL that all engines know, or `text`: the same statement in the engine's own words. Names are the job's
    own; what comes from outside is in the data alone.
    """

    dialect: Dialect

    def text(self, name: str, **values: object) -> str:
        """`sql/NAME.sql` in the engine's words."""
        return statements.text(name, self.dialect, **values)

    def number(self, query: str) -> int:
        """The one number that a query selects."""
        return self.rows(query)[0][0]

    def count(self, table: str) -> int:
        """How many rows a table or view has."""
        ...

    def files(self, view: str, paths: Sequence[str], schema: pa.Schema) -> None:
        """A view of the lake's Parquet files by their columns' names; columns that a file leaves out are null in it.
        Without files it has no rows."""
        ...

    def view(self, name: str, query: str) -> None:
        """A view of a query, worked out wherever it is used. A name may be given anew."""
        ...

    def table(self, name: str, query: str) -> None:
        """The rows of a query, worked out once. A name may be given anew, by a query on its own table too."""
        ...

    def add(self, table: str, query: str) -> None:
        """Adds a query's rows to a table."""
        ...

    def load(self, name: str, table: pa.Table) -> None:
        """A small table from memory, to be used as a view."""
        ...

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query with a small answer."""
        ...

    def write(self, queries: Mapping[str, str], times: Sequence[str] = ()) -> dict[str, list[Written]]:
        """Puts the rows of each query into the lake, as one or more files whose paths begin with its key; rows keep the
        query's order in each file. A query without rows has no file. `times` names columns of milliseconds, of which
        the first that is not null throughout a file tells the file's times; (0, 0) without any."""
        ...

    def scatter(self, query: str, stem: str, times: Sequence[str]) -> list[Written]:
        """The same of one query with very many rows, in no order."""
        ...

    def find_repeated_ids(self, topic: str) -> bool:
        """Makes `$IS_REPEATED` ready: whether an id comes more than once in `new_TOPIC` and `earlier_TOPIC` together. It
        may be true of others too, rarely. False where no id does."""
        ...

    def shares_to_join(self, *views: str) -> Sequence[str]:
        """Conditions on `id` and `log_partition`, of which each row of these views fulfils one. Rows that fulfil the same
        one can be joined in memory, where the engine needs that to be quick. Rows of one id fulfil the same one if they lie
        in the same partition."""
        ...

    def enumerate_names(self, table: str, columns: Sequence[str]) -> None:
        """Says that all values of these columns, in any table to come, are among those of this small table, which holds
        them. An engine may hold them as numbers from here on."""
        ...


class OpenEngine(Protocol):
    """Opens an engine on a lake for one run. `folder` is a local folder of the run's own, `memory_limit` such as 4GiB."""

    def __call__(self, lake: Lake, folder: Path, memory_limit: str) -> AbstractContextManager[Engine]: ...
