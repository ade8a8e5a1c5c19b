"""Bulk loading of empty tables: records are only appended, and put in order once all have been read.

Looking up the window of each record would take longer than everything else. So each version of a window is appended, and at the end
only the last one is kept; deletions and versions of the history wait in side tables.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from streams.web.readmodel.database import Database

#: Memory for sorting and joining, KiB.
_CACHE_KIB: Final = 64 * 1024

_BESIDE: Final = (
    """CREATE TABLE IF NOT EXISTS loading_gone (
        after_id INTEGER NOT NULL, metric TEXT NOT NULL, scope TEXT NOT NULL, period TEXT NOT NULL, deleted_us INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS loading_history (
        position INTEGER PRIMARY KEY, metric TEXT NOT NULL, scope TEXT NOT NULL, period TEXT NOT NULL, kind TEXT NOT NULL,
        start TEXT NOT NULL, end TEXT NOT NULL, updated_us INTEGER NOT NULL, version INTEGER NOT NULL, count INTEGER NOT NULL,
        status TEXT NOT NULL, restated INTEGER NOT NULL, head TEXT NOT NULL, tail TEXT NOT NULL)""",
)
_TWICE: Final = (
    "CREATE INDEX loading_by_key ON windows (scope, metric, period)",
    """DELETE FROM windows WHERE id IN (SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY scope, metric, period ORDER BY id DESC) AS place FROM windows)
        WHERE place > 1)""",
    "DROP INDEX loading_by_key",
    "DELETE FROM bodies WHERE id NOT IN (SELECT id FROM windows)",
)
_ORDERED: Final = (
    # Windows that only the history knows.
    """INSERT OR IGNORE INTO windows SELECT NULL, metric, scope, period, kind, start, end, 0, '', 0, 0, 0, 0, NULL, 0, 0
        FROM loading_history ORDER BY position""",
    """INSERT OR IGNORE INTO bodies SELECT w.id, h.head, '' FROM loading_history h
        JOIN windows w ON w.scope = h.scope AND w.metric = h.metric AND w.period = h.period
        WHERE w.present = 0 ORDER BY h.position""",
    """UPDATE windows SET present = 0, deleted_us = g.deleted_us FROM (
        SELECT max(after_id) AS after_id, metric, scope, period, max(deleted_us) AS deleted_us FROM loading_gone
        GROUP BY metric, scope, period) AS g
        WHERE windows.scope = g.scope AND windows.metric = g.metric AND windows.period = g.period
        AND (windows.id <= g.after_id OR windows.present = 0)""",
    """INSERT OR REPLACE INTO history SELECT w.id, h.position, h.updated_us, h.version, h.count, h.status, h.restated,
        CASE WHEN h.head = b.head THEN NULL ELSE h.head END, h.tail FROM loading_history h
        JOIN windows w ON w.scope = h.scope AND w.metric = h.metric AND w.period = h.period
        JOIN bodies b ON b.id = w.id""",
    "DELETE FROM history_begins",
    "INSERT INTO history_begins SELECT min(updated_us) FROM history HAVING count(*) > 0",
    "DROP TABLE loading_gone",
    "DROP TABLE loading_history",
)


class Loading:
    """Collects windows and their history until `finish`.

    Args:
        database: A new database without indexes.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next_id = 1
        self._windows: list[tuple[Any, ...]] = []
        self._bodies: list[tuple[int, str, str]] = []
        self._gone: list[tuple[Any, ...]] = []
        self._versions: list[tuple[Any, ...]] = []
        for statement in _BESIDE:
            database.writer.execute(statement)

    def window(self, key: tuple[str, str, str], columns: tuple[Any, ...], body: tuple[str, str]) -> None:
        """Takes a row.

        Args:
            key: Metric, scope, period.
            columns: Kind, start, end, count, status, restated, version, updated_us, numbers of targets and of control totals.
            body: Head and tail of its JSON.
        """
        number = self._next_id
        self._next_id += 1
        self._windows.append((number, *key, *columns))
        self._bodies.append((number, *body))

    def gone(self, key: tuple[str, str, str], deleted_us: int) -> None:
        """Takes the tombstone of a row."""
        self._gone.append((self._next_id - 1, *key, deleted_us))

    def version(
        self, position: int, key: tuple[str, str, str], columns: tuple[Any, ...], body: tuple[str, str]
    ) -> None:
        """Takes a version of the history; `columns`: kind, start, end, updated_us, version, count, status, restated."""
        self._versions.append((position, *key, *columns, *body))

    def forget_windows(self, connection: sqlite3.Connection) -> None:
        """Forgets the rows, whose topic was recreated."""
        connection.execute("DELETE FROM windows")
        connection.execute("DELETE FROM bodies")
        connection.execute("DELETE FROM loading_gone")

    def forget_history(self, connection: sqlite3.Connection) -> None:
        """Forgets the history, whose topic was recreated."""
        connection.execute("DELETE FROM loading_history")

    def flush(self, connection: sqlite3.Connection) -> None:
        """Writes what has been collected from a batch."""
        connection.executemany(
            """INSERT INTO windows (id, metric, scope, period, kind, start, end, count, status, restated, version, updated_us,
            targets, controls, present, deleted_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, NULL)""",
            self._windows,
        )
        connection.executemany("INSERT INTO bodies VALUES (?, ?, ?)", self._bodies)
        connection.executemany("INSERT INTO loading_gone VALUES (?, ?, ?, ?, ?)", self._gone)
        connection.executemany(
            "INSERT OR REPLACE INTO loading_history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._versions
        )
        for each in (self._windows, self._bodies, self._gone, self._versions):
            each.clear()

    def finish(self) -> None:
        """Puts everything in order, as if each record had been applied one by one."""
        writer = self._database.writer
        cache = writer.execute("PRAGMA cache_size").fetchone()[0]
        writer.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        writer.execute("PRAGMA temp_store = FILE")
        with self._database.writing():
            try:
                self._database.add_indexes()
            except sqlite3.IntegrityError:
                for statement in _TWICE:
                    writer.execute(statement)
                self._database.add_indexes()
            for statement in _ORDERED:
                writer.execute(statement)
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("PRAGMA temp_store = MEMORY")
        writer.execute(f"PRAGMA cache_size = {cache}")
