"""The gallery's tables: created once, and checked whenever a file is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from maclip_runtime.errors import MaclipError

APPLICATION_ID = 0x6D61636C  # "macl"
SCHEMA_VERSION = 3

# The checks refuse what `rows.clip_from` could not read back, whoever writes it. The index clips_by_class holds all
# that a list of classes needs, so that the clips' large rows are not read for it.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL CHECK (typeof(value) = 'text')) WITHOUT ROWID;
CREATE TABLE clips (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    class TEXT,                  -- NULL: a negative, a clip of none of the classes
    text_name TEXT,              -- the action's name from which its text feature was made
    text BLOB,                   -- float32 [D'], NULL: enrolled without text
    features BLOB NOT NULL,      -- float32 [T, D'], support branch (with the text where there is one)
    query BLOB NOT NULL,         -- float32 [T, D'], query branch: what limits are measured with
    frames INTEGER NOT NULL,     -- T
    width INTEGER NOT NULL,      -- D'
    digest TEXT NOT NULL,        -- sha256 of the sampled pixels, to recognise the same clip
    source TEXT NOT NULL,        -- where it came from, without credentials
    enrolled_at TEXT NOT NULL,   -- ISO 8601, UTC
    duration_s REAL NOT NULL,
    quality TEXT NOT NULL,       -- JSON object of figures
    thumbnail BLOB NOT NULL,     -- a small JPEG
    forced TEXT NOT NULL,        -- JSON list of the reasons for rejection that --force overrode
    CHECK (typeof(class) IN ('text', 'null') AND class != ''),
    CHECK (typeof(text_name) IN ('text', 'null')),
    CHECK ((text IS NULL) = (text_name IS NULL)),
    CHECK (typeof(frames) = 'integer' AND frames > 0 AND typeof(width) = 'integer' AND width > 0),
    CHECK (typeof(text) = 'null' OR typeof(text) = 'blob' AND length(text) = 4 * width),
    CHECK (typeof(features) = 'blob' AND length(features) = 4 * frames * width),
    CHECK (typeof(query) = 'blob' AND length(query) = 4 * frames * width),
    CHECK (typeof(digest) = 'text' AND typeof(source) = 'text' AND typeof(enrolled_at) = 'text'),
    CHECK (typeof(duration_s) = 'real' AND duration_s > 0 AND duration_s < 9e999),
    CHECK (typeof(quality) = 'text' AND json_valid(quality) AND json_type(quality) = 'object'),
    CHECK (typeof(thumbnail) = 'blob'),
    CHECK (typeof(forced) = 'text' AND json_valid(forced) AND json_type(forced) = 'array')
);
CREATE INDEX clips_by_class ON clips (class, id, text_name, digest, duration_s, enrolled_at, frames, width);
CREATE INDEX clips_by_digest ON clips (digest);
CREATE TABLE prototypes (        -- derived: may be deleted at any time
    clip INTEGER PRIMARY KEY REFERENCES clips (id) ON DELETE CASCADE,
    graph TEXT NOT NULL,         -- digest of the prototype graph that made it
    data BLOB NOT NULL,          -- float32 [T, D']
    CHECK (typeof(graph) = 'text' AND typeof(data) = 'blob')
);
CREATE TABLE measured_limit (    -- derived likewise: one row, for the classes without a calibrated limit
    id INTEGER PRIMARY KEY CHECK (id = 1),
    made_for TEXT NOT NULL,      -- what it was measured with: generation, the bundle's limit and graphs
    value REAL,                  -- NULL: no limit
    CHECK (typeof(made_for) = 'text'),
    CHECK (typeof(value) = 'null' OR typeof(value) = 'real' AND abs(value) < 9e999)
);
CREATE TABLE limits (            -- calibrated: the distance above which a class's answer is "unknown"
    class TEXT PRIMARY KEY,
    value REAL NOT NULL,
    clips TEXT NOT NULL,         -- key of the clips it was measured with; it is ignored for others
    graphs TEXT NOT NULL,        -- digests of the graphs, likewise
    calibrated_at TEXT NOT NULL, -- ISO 8601, UTC
    facts TEXT NOT NULL,         -- JSON object: the calibration's figures
    CHECK (typeof(class) = 'text' AND class != ''),
    CHECK (typeof(value) = 'real' AND abs(value) < 9e999),
    CHECK (typeof(clips) = 'text' AND typeof(graphs) = 'text' AND typeof(calibrated_at) = 'text'),
    CHECK (typeof(facts) = 'text' AND json_valid(facts) AND json_type(facts) = 'object')
) WITHOUT ROWID;
"""


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether the file holds nothing yet."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return tables == 0 and connection.execute("PRAGMA application_id").fetchone()[0] == 0


def create_tables(connection: sqlite3.Connection) -> None:
    """Turn a new file into an empty gallery, within a transaction of the caller's."""
    for statement in TABLES.split(";\n"):  # `executescript` would end the transaction
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def check_schema(path: Path, connection: sqlite3.Connection) -> None:
    """Raises `gallery-corrupt` for another program's database, `gallery-schema` for another version's gallery."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise MaclipError("gallery-corrupt", f"{path} is a database, but not a gallery.", "Give another --gallery.")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise MaclipError(
            "gallery-schema",
            f"The gallery {path} has schema {version}; this version of maclip reads schema {SCHEMA_VERSION}.",
            "Use the version of maclip that wrote it, or enroll the clips again into another file.",
        )
