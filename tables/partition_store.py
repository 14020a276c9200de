"""PartitionStore: one RocksDB per partition, shared by both topics.

| column family | key | value | bound, expiry |
|---|---|---|---|
| default | prediction id | the row, MessagePack, its last log time first | swept LIFE after its last head |
| records | key as in `runway.metrics` | record as in `runway.metrics` | 50,000 open; deleted when their log hour has closed |
| state | `state` | offsets, log times, counters, MessagePack | one |

All that a commit changes goes into one WriteBatch. It is not synced: it survives the process, and what the machine loses is
read from the log again, because the offsets lie in the same batch.
"""

import shutil
import threading
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
)

from runway_streams.errors import DependencyDown, Refused, RunwayError
from runway_streams.full_disk import full_disk
from runway_streams.ground_truth.partition import Changes

RECORDS, STATE = "records", "state"
STATE_KEY = b"state"
_ROW_MEMTABLE = 32 << 20
"""Half of RocksDB's default: lookups of rows that lie in the memtable walk a skip list that the processor's cache can hold."""
_RECORD_MEMTABLE = 16 << 20


@dataclass(frozen=True)
class Memory:
    """The memory that all partitions of a process share: one block cache, one budget of write buffers."""

    cache_bytes: int = 256 << 20
    write_buffer_bytes: int = 384 << 20
    cache: Cache = field(init=False, repr=False, compare=False)
    write_buffers: WriteBufferManager = field(init=False, repr=False, compare=False)

    @classmethod
    def of(cls, mib: int) -> "Memory":
        """So much in all: two fifths to read from, three fifths to write into.

        >>> Memory.of(640) == Memory()
        True
        """
        return cls(mib * 2 // 5 << 20, mib * 3 // 5 << 20)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache", Cache(self.cache_bytes))
        object.__setattr__(self, "write_buffers", WriteBufferManager(self.write_buffer_bytes, False))


class PartitionStore:
    """The state of one partition on disk; see the module for what lies where."""

    closed = False
    broken: RunwayError | None = None
    """Why the last write failed. RocksDB may take the next one all the same, and what lies between is then missing: nothing
    is written any more."""

    def __init__(self, db: Rdict, path: Path):
        # rocksdict's type stubs know neither raw mode nor multi-get.
        self._db: Any = db
        self.path = path
        self._records: Any = db.get_column_family(RECORDS)
        self._state = db.get_column_family(STATE)
        self._records_handle = db.get_column_family_handle(RECORDS)
        self._state_handle = db.get_column_family_handle(STATE)
        self._copying = threading.Lock()

    @classmethod
    def open(cls, path: Path | str, memory: Memory | None = None) -> "PartitionStore":
        """Opens or makes the state below `path`. Raises Refused when another process holds it or it cannot be read."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        memory = memory or Memory()
        families = {RECORDS: _options(memory, _RECORD_MEMTABLE), STATE: _options(memory, 1 << 20)}
        try:
            return cls(Rdict(str(path), _options(memory, _ROW_MEMTABLE), column_families=families), path)
        except Exception as error:
            if full := full_disk(error, path):
                raise full from error
            if more := _unknown_families(path):
                raise Refused(
                    f"The state in {path} has {', '.join(more)}, which this version does not know.",
                    "A newer version wrote it, and nothing was changed: upgrade this process first.",
                ) from error
            raise Refused(
                f"The state in {path} cannot be opened: {error}.",
                "If another worker runs with this RUNWAY_INSTANCE, give this one its own; else move the folder away: "
                "the worker rebuilds it from the log.",
            ) from error

    def close(self) -> None:
        """Flushes and lets go of the files; the handles hold RocksDB's lock as long as they live."""
        with self._copying:
            del self._records_handle, self._state_handle
            for family in (self._records, self._state, self._db):
                # What could not be written cannot be flushed either; it is read again from the log.
                with suppress(Exception) if self.broken else nullcontext():
                    family.close()
            del self._records, self._state, self._db
            self.closed = True

    def copy_to(self, folder: Path) -> None:
        """Puts a copy of the state into a new folder on the same volume: hard links, the state of one commit. For another
        thread than the one that writes, which it holds up for some 20 ms: the flush is done without Python's lock."""
        with self._copying:
            if self.closed:
                raise FileNotFoundError(f"The state in {self.path} was closed.")
            shutil.rmtree(folder, ignore_errors=True)
            # The checkpoint flushes by itself, but would hold Python's lock while it does.
            for family in (self._db, self._records, self._state):
                family.flush()
            Checkpoint(self._db).create_checkpoint(str(folder))

    def read_state(self) -> bytes | None:
        return self._state.get(STATE_KEY)

    def get_rows(self, keys: list[bytes]) -> list[bytes | None]:
        return self._db.get(keys)

    def get_records(self, keys: list[bytes]) -> list[bytes | None]:
        return self._records.get(keys)

    def iter_records(self) -> Iterable[tuple[bytes, bytes]]:
        return self._records.items()

    def scan_rows(self, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        # A sweep passes once: it must not push what lookups need out of the cache.
        once: Any = ReadOptions()
        once.fill_cache(False)
        # The least key above `after` is itself and a zero byte.
        return list(islice(self._db.items(from_key=after + b"\0" if after else None, read_opt=once), limit))

    def write(self, changes: Changes) -> None:
        """One atomic write. Raises DependencyDown where the disk does not take it, and then for ever."""
        if self.broken is not None:
            raise self.broken
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        # In the order of keys neighbours in the memtable are inserted together: a third less work. Of two with one key the
        # later stays the later.
        for key, value in sorted(changes.rows, key=itemgetter(0)):
            put(key, value)
        for key in changes.dead_rows:
            delete(key)
        for key, value in changes.records:
            put(key, value, self._records_handle)
        for key in changes.dead_records:
            delete(key, self._records_handle)
        put(STATE_KEY, changes.state, self._state_handle)
        try:
            self._db.write(batch)
        except Exception as error:
            self.broken = full_disk(error, f"the state in {self.path}") or DependencyDown(
                f"The state in {self.path} cannot be written: {error}.",
                "Look at that disk, and start the worker again: it goes on from what is written.",
            )
            raise self.broken from error

    def size(self) -> dict[str, int]:
        """Rows (estimated) and bytes on disk."""
        rows = self._db.property_int_value("rocksdb.estimate-num-keys") or 0
        return {"rows": rows, "bytes": sum(f.stat().st_size for f in self.path.rglob("*") if f.is_file())}


def _unknown_families(path: Path) -> list[str]:
    """The column families of a state that only a newer version knows."""
    try:
        return sorted(set(Rdict.list_cf(str(path), Options(raw_mode=True))) - {"default", RECORDS, STATE})
    except Exception:  # not even this can be read
        return []


def read_state_of(folder: Path) -> bytes | None:
    """The state in a copy that nobody has open, which stays as it is. Raises Refused where it cannot be read."""
    memory = Memory(1 << 20, 1 << 20)
    families = {RECORDS: _options(memory, _RECORD_MEMTABLE), STATE: _options(memory, 1 << 20)}
    try:
        db = Rdict(str(folder), _options(memory, _ROW_MEMTABLE), families, AccessType.read_only())
        state = db.get_column_family(STATE)
        found = state.get(STATE_KEY)
        state.close()
        db.close()
        return found
    except Exception as error:
        raise Refused(f"The copy of the state in {folder} cannot be opened: {error}.") from error


def _options(memory: Memory, memtable: int) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(memory.cache)
    blocks.set_bloom_filter(10, False)
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_block_size(8 << 10)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_block_based_table_factory(blocks)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(memtable)
    options.set_write_buffer_manager(memory.write_buffers)
    # Most predictions are new: a bloom filter on the memtable answers their lookups without walking its skip list.
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.1)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(4)
    options.set_max_open_files(512)
    options.set_max_total_wal_size(256 << 20)
    return options
