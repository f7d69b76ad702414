// Package files reads the files that an operator configures: keys, key sets and documents.
//
// A file is UTF-8; a byte order mark is left out, and line ends may be CRLF. What is read
// again stays in use as it was last good: see [Latest].
package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// MaxBytes is the most bytes of a file.
const MaxBytes = 1 << 20

var byteOrderMark = []byte("\ufeff")

// ErrTooLarge says that there are more than [MaxBytes].
var ErrTooLarge = errors.New("more than 1 MiB")

// ReadAll reads at most [MaxBytes], and fails if there are more. It leaves out a byte order
// mark.
func ReadAll(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > MaxBytes {
		return nil, ErrTooLarge
	}
	return bytes.TrimPrefix(content, byteOrderMark), nil
}

// Read reads a regular file as [ReadAll] does. For anything else, such as a named pipe, it
// fails at once.
func Read(name string) ([]byte, error) {
	content, _, err := read(name)
	return content, err
}

func read(name string) ([]byte, fs.FileMode, error) {
	// Without O_NONBLOCK, opening a named pipe waits for a writer.
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names it
	if err != nil {
		return nil, 0, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", name)
	}
	content, err := ReadAll(file)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", name, err)
	}
	return content, info.Mode(), nil
}

// exposure is what others may do with a file and should not; empty: nothing.
func exposure(mode fs.FileMode, secret bool) string {
	switch {
	case mode&0o002 != 0:
		return "a file can be written by others"
	case secret && mode&0o004 != 0:
		return "a file with secrets can be read by others"
	default:
		return ""
	}
}

// Dir is a directory as an [fs.FS] whose [fs.ReadFile] is [Read]. The log warns of each file
// that others may write.
func Dir(name string, log *slog.Logger) fs.FS { return dir{os.DirFS(name), name, log} }

type dir struct {
	fs.FS
	name string
	log  *slog.Logger
}

// ReadFile implements [fs.ReadFileFS].
func (d dir) ReadFile(name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	file := filepath.Join(d.name, filepath.FromSlash(name))
	content, mode, err := read(file)
	if found := exposure(mode, false); err == nil && found != "" {
		d.log.Warn(found, "file", file)
	}
	return content, err
}
