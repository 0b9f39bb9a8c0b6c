//! The tables of the record, and how the database is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

/// Version of the tables.
const VERSION: i64 = 1;
/// How long a process waits for another one's write, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    machine TEXT,
    vault TEXT NOT NULL,
    scheduled INTEGER NOT NULL,
    state TEXT NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER,
    planned INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    bytes_read INTEGER NOT NULL DEFAULT 0,
    bytes_changed INTEGER NOT NULL DEFAULT 0,
    bytes_new INTEGER NOT NULL DEFAULT 0,
    bytes_written INTEGER NOT NULL DEFAULT 0,
    result TEXT,
    warning_count INTEGER NOT NULL DEFAULT 0,
    last_message TEXT,
    pid INTEGER NOT NULL,
    boot TEXT NOT NULL,
    start_ticks INTEGER NOT NULL
);
CREATE INDEX job_by_machine ON job (machine, start_ms);
CREATE INDEX job_in_progress ON job (state) WHERE state = 'in_progress';
CREATE TABLE task (
    job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER,
    state TEXT NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE message (
    job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    severity TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE machine (name TEXT PRIMARY KEY, since_ms INTEGER NOT NULL) WITHOUT ROWID;
";

/// Opens the database, and makes its tables where it is new.
pub(super) fn open(path: &Path) -> Result<Connection, String> {
    let connection =
        open_or_make(path).map_err(|error| format!("{error}; it is never needed to restore: move it away, and a new one is made"))?;
    match version(&connection).map_err(|error| error.to_string())? {
        VERSION => Ok(connection),
        other => Err(format!("its version is {other}, expected {VERSION}; a later Cairn made it")),
    }
}

fn open_or_make(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // Readers and a writer side by side. A loss of power may take the last entries with it, which a record of jobs can bear.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    if version(&connection)? == 0 {
        // Two processes may come here at once: the second one finds the tables when it has the lock.
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        if version(&transaction)? == 0 {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
    }
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
