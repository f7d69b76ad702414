package files_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"spoollock/files"
	"spoollock/testwait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRead(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	full := strings.Repeat("x", files.MaxBytes)
	for content, want := range map[string]string{
		"": "", "a\r\nb\n": "a\r\nb\n", "\ufeffa": "a", "\ufeff": "", "a\ufeff": "a\ufeff", full: full,
	} {
		if got, err := files.Read(write(t, name, content)); err != nil || string(got) != want {
			t.Errorf("of %.10q, %.10q is read, %v", content, got, err)
		}
	}
	if got, err := files.Read(write(t, name, full+"x")); err == nil || got != nil {
		t.Errorf("of a file that is too large, %d bytes are read", len(got))
	}
}

// endless is a source without an end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read += len(p); e.read > 4*files.MaxBytes {
		return 0, errors.New("it is read on and on")
	}
	return len(p), nil
}

func TestReadAllIsBounded(t *testing.T) {
	t.Parallel()
	if content, err := files.ReadAll(&endless{}); !errors.Is(err, files.ErrTooLarge) || content != nil {
		t.Errorf("of a source without an end, %d bytes are read, %v", len(content), err)
	}
}

// What is not a regular file is refused at once; a link to one is read.
func TestReadOfOtherFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink(write(t, filepath.Join(dir, "file"), "x"), link)); err != nil {
		t.Fatal(err)
	}
	if content, err := files.Read(link); err != nil || string(content) != "x" {
		t.Errorf("by a link, %q is read, %v", content, err)
	}
	for _, name := range []string{pipe, dir, os.DevNull} {
		read := make(chan error, 1)
		go func() {
			_, err := files.Read(name)
			read <- err
		}()
		select {
		case err := <-read:
			if err == nil || !strings.Contains(err.Error(), "is not a regular file") {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(testwait.Patience):
			t.Fatalf("%s is waited for", name)
		}
	}
	if _, err := files.Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// logged is what was logged, without times.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestDir(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), &logged{}
	write(t, filepath.Join(dir, "a"), "\ufeffx")
	content, err := fs.ReadFile(files.Dir(dir, log.logger()), "a")
	if err != nil || string(content) != "x" || log.take() != "" {
		t.Errorf("%q is read, %v", content, err)
	}
	if err := os.Chmod(filepath.Join(dir, "a"), 0o666); err != nil { //nolint:gosec // that is what is warned of
		t.Fatal(err)
	}
	if _, err := fs.ReadFile(files.Dir(dir, log.logger()), "a"); err != nil || !strings.Contains(log.take(), "written by others") {
		t.Errorf("the log does not warn of a file that others may write, %v", err)
	}
	if _, err := fs.ReadFile(files.Dir(filepath.Join(dir, "b"), log.logger()), "../a"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("out of the directory: %v", err)
	}
	if entries, err := fs.ReadDir(files.Dir(dir, log.logger()), "."); err != nil || len(entries) != 1 {
		t.Errorf("it has %v, %v", entries, err)
	}
}

// The last good content stays in use, and each change is logged once.
func TestLatest(t *testing.T) {
	t.Parallel()
	log, used := &logged{}, ""
	latest := &files.Latest{
		Use: func(content []byte) error {
			if len(content) == 0 {
				return errors.New("it is empty")
			}
			used += string(content)
			return nil
		},
		Changed: "changed", Failed: "failed", Log: log.logger(),
	}
	const changed, failed, empty = "level=INFO msg=changed\n", "level=ERROR msg=failed error=away\n", "level=ERROR msg=failed error=\"it is empty\"\n"
	away := errors.New("away")
	for i, step := range []struct {
		content string
		err     error
		used    string
		log     string
	}{
		{"", away, "", failed},
		{"", away, "", ""},
		{"", nil, "", empty},
		{"a", nil, "a", changed},
		{"a", nil, "a", ""},
		{"", away, "a", failed},
		{"", nil, "a", empty},
		{"", nil, "a", ""},
		{"a", nil, "a", changed},
		{"b", nil, "ab", changed},
	} {
		latest.Offer([]byte(step.content), step.err)
		if said := log.take(); used != step.used || said != step.log {
			t.Errorf("step %d: %q was used, and the log is %q; want %q, %q", i, used, said, step.used, step.log)
		}
		good, err := latest.Status()
		if (err != nil) != (step.err != nil || step.content == "") || good.IsZero() != (step.used == "") {
			t.Errorf("step %d: it was good %v, %v", i, good, err)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	name := write(t, filepath.Join(t.TempDir(), "file"), "a")
	used := make(chan string, 1)
	latest := &files.Latest{
		Use:    func(content []byte) error { used <- string(content); return nil },
		Secret: func() bool { return true },
		Log:    (&logged{}).logger(),
	}
	if err := latest.Load(name); err != nil || <-used != "a" {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		latest.Watch(ctx, name)
	}()
	write(t, name, "b")
	select {
	case content := <-used:
		if content != "b" && content != "" { // which is seen in the middle of the write
			t.Errorf("%q is used", content)
		}
	case <-time.After(testwait.Patience):
		t.Error("a change is not seen")
	}
	cancel()
	<-watched
}

// The log warns once of what others may do with a file.
func TestModes(t *testing.T) {
	t.Parallel()
	name, log := write(t, filepath.Join(t.TempDir(), "file"), "a"), &logged{}
	secret := false
	latest := &files.Latest{Use: func([]byte) error { return nil }, Secret: func() bool { return secret }, Log: log.logger()}
	const readable, writable = "a file with secrets can be read by others", "a file can be written by others"
	for i, step := range []struct {
		mode   fs.FileMode
		secret bool
		want   string
	}{
		{0o644, false, ""}, {0o660, true, ""}, {0o644, true, readable}, {0o644, true, ""}, {0o600, true, ""},
		{0o646, true, writable}, {0o602, false, ""}, {0o640, true, ""}, {0o602, false, writable},
	} {
		if err := os.Chmod(name, step.mode); err != nil {
			t.Fatal(err)
		}
		secret = step.secret
		latest.Reload(name)
		said := log.take()
		if step.want == "" && strings.Contains(said, "others") || !strings.Contains(said, step.want) {
			t.Errorf("step %d: the log is %q, want %q", i, said, step.want)
		}
	}
}
