"""The tables of the history. Text only."""

from __future__ import annotations

SCHEMA_VERSION = 3

SIGNALS = ("loss", "grad_norm", "learning_rate", "reserved", "batch_s", "data_wait_s", "nonfinite", "allocated")
PARTS_MAX = GROUPS_MAX = 8  # components of the loss and parameter groups whose curves are kept; more fit no chart
LEVELS = (
    16,
    64,
    256,
    1024,
    4096,
    16384,
)  # batches of one roll-up row: whatever is asked for is a few thousand rows of one
AXIS = "nonfinite"  # the signal that every batch has
RAW_ROWS_MAX = 200_000  # per run: about 20 MB, the last hours of a fast training

TABLES = """
CREATE TABLE journal (
  seq INTEGER PRIMARY KEY, now_s REAL NOT NULL, run TEXT NOT NULL, entry BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE snapshots (seq INTEGER PRIMARY KEY, fleet BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE effects (
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, run TEXT NOT NULL, effect BLOB NOT NULL,
  done INTEGER NOT NULL);
CREATE INDEX effects_waiting ON effects (done) WHERE done = 0;
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL, receiver TEXT NOT NULL, alert_id TEXT NOT NULL, alert BLOB NOT NULL,
  attempts INTEGER NOT NULL, created_s REAL NOT NULL, next_s REAL NOT NULL, error TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL DEFAULT '', UNIQUE (alert_id, receiver));
CREATE TABLE story (
  n INTEGER PRIMARY KEY, run TEXT NOT NULL, at_s REAL NOT NULL, severity TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX story_of_run ON story (run, n);
CREATE TABLE samples (
  n INTEGER PRIMARY KEY, run TEXT NOT NULL, generation INTEGER NOT NULL, rank INTEGER NOT NULL, count INTEGER NOT NULL,
  epoch INTEGER NOT NULL, batch INTEGER NOT NULL, at_s REAL NOT NULL, loss REAL, grad_norm REAL,
  nonfinite INTEGER NOT NULL, learning_rate REAL, reserved INTEGER, batch_s REAL, data_wait_s REAL,
  allocated INTEGER, more BLOB);
CREATE INDEX samples_by_count ON samples (run, rank, generation, count);
CREATE INDEX samples_of_run ON samples (run);
CREATE TABLE rollups (
  run TEXT NOT NULL, rank INTEGER NOT NULL, level INTEGER NOT NULL, generation INTEGER NOT NULL,
  bucket INTEGER NOT NULL, signal TEXT NOT NULL, from_s REAL NOT NULL, to_s REAL NOT NULL, n INTEGER NOT NULL,
  total REAL NOT NULL, low REAL, high REAL,
  PRIMARY KEY (run, rank, level, signal, generation, bucket)) WITHOUT ROWID;
"""

INSERT_SAMPLE = """
INSERT INTO samples (run, generation, rank, count, epoch, batch, at_s, loss, grad_norm, nonfinite, learning_rate,
  reserved, batch_s, data_wait_s, allocated, more) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

FROM_VERSION_1 = """
ALTER TABLE samples ADD COLUMN allocated INTEGER;
ALTER TABLE samples ADD COLUMN more BLOB;
"""

# The coarser roll-ups were kept up to date batch by batch, and are now written when they are full: the last ones,
# which are not, leave. What has no row of a level is read from the finer one.
FROM_VERSION_2 = """
DROP INDEX IF EXISTS samples_in_time;
CREATE INDEX IF NOT EXISTS samples_by_count ON samples (run, rank, generation, count);
DELETE FROM rollups WHERE level > 16 AND bucket = (
  SELECT max(bucket) FROM rollups AS axis WHERE axis.run = rollups.run AND axis.rank = rollups.rank
    AND axis.level = rollups.level AND axis.signal = 'nonfinite' AND axis.generation = rollups.generation);
"""

MERGE_ROLLUP = """
INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET to_s = max(to_s, excluded.to_s), n = n + excluded.n, total = total + excluded.total,
  low = min(low, excluded.low), high = max(high, excluded.high)
"""

FILL_ROLLUP = """
INSERT OR REPLACE INTO rollups
SELECT run, rank, ?7, generation, ?8, signal, min(from_s), max(to_s), sum(n), sum(total), min(low), max(high)
FROM rollups WHERE run = ?1 AND rank = ?2 AND level = ?3 AND signal = ?4 AND generation = ?5
  AND bucket BETWEEN ?6 AND ?6 + ?7 / ?3 - 1 GROUP BY signal
"""

INSERT_ALERT = """
INSERT OR IGNORE INTO outbox (id, run, receiver, alert_id, alert, attempts, created_s, next_s)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

TRIM_SAMPLES = """
DELETE FROM samples WHERE run = ?1 AND n <= (
  SELECT n FROM samples WHERE run = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2)
"""
