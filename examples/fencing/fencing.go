// Fencing stores the work on spools, and refuses that of a holder who is late.
//
// Usage:
//
//	fencing <database>
//
// It reads a write a line from its standard input, such as
//
//	{"tag": "MK-1335-CW-25238-011", "version": 1795442709123, "data": "weld 3 of 5"}
//
// and answers each with a line: that it is written, or why it is refused.
// fencing.py does the same in Python. README.md says what it is for.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	_ "github.com/ncruces/go-sqlite3/driver" // "sqlite3"
)

// The version of a spool's newest work is also the newest that was seen.
const table = `
CREATE TABLE IF NOT EXISTS work (
  tag     TEXT NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL CHECK (typeof(version) = 'integer' AND version BETWEEN 1 AND 9007199254740991),
  data    TEXT NOT NULL
)`

// Compares and writes in one step, so nothing newer comes in between. It changes one
// row, or none where the version is older than the newest seen.
const write = `
INSERT INTO work (tag, version, data) VALUES (?, ?, ?)
ON CONFLICT (tag) DO UPDATE SET version = excluded.version, data = excluded.data
WHERE excluded.version >= work.version`

// StaleError is returned for the write of a holder whose lock has ended and whose
// spool has been written under a newer one. Nothing was changed.
type StaleError struct {
	Tag     string
	Version int64 // of the write
	Newest  int64 // that was seen of the spool
}

// Error implements error.
func (e *StaleError) Error() string {
	return fmt.Sprintf("version %d is older than %d", e.Version, e.Newest)
}

// Writer stores the newest work on each spool in a SQLite database. Goroutines may
// share one, and processes one database.
type Writer struct{ db *sql.DB }

// Open opens the database in the file, and makes what is missing of it.
func Open(ctx context.Context, file string) (*Writer, error) {
	db, err := sql.Open("sqlite3", file)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if _, err := db.ExecContext(ctx, table); err != nil {
		return nil, errors.Join(fmt.Errorf("make the table: %w", err), db.Close())
	}
	return &Writer{db: db}, nil
}

// Close closes the database.
func (w *Writer) Close() error { return w.db.Close() }

// Write stores the data of the spool under the version of the lock that it was made
// under, 1 to 2^53-1. The tag is the tagSpool that the take answered, never what somebody
// typed. A holder may write as often as it likes. It returns
// *StaleError, and changes nothing, if a newer version of the spool was seen; and
// after up to a minute an error of SQLite's, if others keep the database busy.
func (w *Writer) Write(ctx context.Context, tag string, version int64, data string) error {
	result, err := w.db.ExecContext(ctx, write, tag, version, data)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if changed == 1 {
		return nil
	}
	// The write is refused already. What is read here can only be newer still.
	stale := &StaleError{Tag: tag, Version: version}
	row := w.db.QueryRowContext(ctx, "SELECT version FROM work WHERE tag = ?", tag)
	if err := row.Scan(&stale.Newest); err != nil {
		return fmt.Errorf("read the newest version: %w", err)
	}
	return stale
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "Usage: fencing <database>")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, file string, in io.Reader, out io.Writer) (err error) {
	writer, err := Open(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.Close()) }()
	for lines := json.NewDecoder(in); ; {
		var work struct {
			Tag     string
			Version int64
			Data    string
		}
		if err := lines.Decode(&work); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		answer := "written"
		var stale *StaleError
		if err := writer.Write(ctx, work.Tag, work.Version, work.Data); errors.As(err, &stale) {
			answer = "refused: " + stale.Error()
		} else if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}
