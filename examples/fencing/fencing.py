"""Stores the work on spools, and refuses that of a holder who is late.

Usage: python3 fencing.py <database>

It reads a write a line from its standard input, such as

    {"tag": "MK-1335-CW-25238-011", "version": 1795442709123, "data": "weld 3 of 5"}

and answers each with a line: that it is written, or why it is refused.
fencing.go does the same in Go. README.md says what it is for.
"""

import json
import sqlite3
import sys

# The version of a spool's newest work is also the newest that was seen.
TABLE = """
CREATE TABLE IF NOT EXISTS work (
  tag     TEXT NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL CHECK (typeof(version) = 'integer' AND version BETWEEN 1 AND 9007199254740991),
  data    TEXT NOT NULL
)"""

# Compares and writes in one step, so nothing newer comes in between. It changes one
# row, or none where the version is older than the newest seen.
WRITE = """
INSERT INTO work (tag, version, data) VALUES (?, ?, ?)
ON CONFLICT (tag) DO UPDATE SET version = excluded.version, data = excluded.data
WHERE excluded.version >= work.version"""


class StaleError(Exception):
    """Raised for the write of a holder whose lock has ended and whose spool has been
    written under a newer one. Nothing was changed.

    tag and version are those of the write, newest is the newest version seen.
    """

    def __init__(self, tag, version, newest):
        super().__init__(f"version {version} is older than {newest}")
        self.tag, self.version, self.newest = tag, version, newest


class Writer:
    """Stores the newest work on each spool in a SQLite database, which processes may
    share. A Writer is for the thread that made it."""

    def __init__(self, file):
        """Opens the database in the file, and makes what is missing of it."""
        # Without an isolation level, each statement is a transaction of its own.
        self._db = sqlite3.connect(file, timeout=60, isolation_level=None)
        self._db.execute(TABLE)

    def close(self):
        """Closes the database."""
        self._db.close()

    def write(self, tag, version, data):
        """Stores the data of the spool under the version of the lock that it was made
        under, an int from 1 to 2^53-1. The tag is the tagSpool that the take answered,
        never what somebody typed. A holder may write as often as it likes. Raises
        TypeError for a version that is no int; StaleError, and changes nothing, if a
        newer version of the spool was seen; and after up to a minute
        sqlite3.OperationalError, if others keep the database busy.
        """
        if type(version) is not int:  # SQLite would make one of a text
            raise TypeError(f"version is a {type(version).__name__}, not an int")
        if self._db.execute(WRITE, (tag, version, data)).rowcount == 1:
            return
        # The write is refused already. What is read here can only be newer still.
        [(newest,)] = self._db.execute("SELECT version FROM work WHERE tag = ?", (tag,))
        raise StaleError(tag, version, newest)


def main():
    if len(sys.argv) != 2:
        sys.exit("Usage: python3 fencing.py <database>")
    writer = Writer(sys.argv[1])
    for line in sys.stdin:
        work = json.loads(line)
        try:
            writer.write(work["tag"], work["version"], work["data"])
            print("written", flush=True)
        except StaleError as stale:
            print("refused:", stale, flush=True)
    writer.close()


if __name__ == "__main__":
    main()
