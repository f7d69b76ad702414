package examples_test

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"

	"spoollock/repository/redistest"
	"spoollock/testwait"
)

// The ways to start the writer of examples/fencing, by language.
var fencing = map[string]func(t *testing.T) []string{
	"Go": func(t *testing.T) []string { return []string{build(t, "./fencing")} },
	"Python": func(t *testing.T) []string {
		redistest.NeedProgram(t, "python3", "needs Python 3")
		return []string{"python3", "fencing/fencing.py"}
	},
}

func TestFencing(t *testing.T) {
	t.Parallel()
	url := graphql(service(t, build(t, ".."), "REDIS_URL="+redistest.Start(t).URL, "RATE_LIMIT=off"))
	for language, command := range fencing {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			testFencing(t, url, command(t), language)
		})
	}
}

// A holder that is paused until its lock went to another is refused when it goes on,
// for 100 spools of ten holders, each a process.
func testFencing(t *testing.T, url string, command []string, prefix string) {
	database := filepath.Join(t.TempDir(), "work.db")
	holders := make([]*writer, 10)
	for i := range holders {
		holders[i] = startWriter(t, command, database)
	}
	next := startWriter(t, command, database)
	type work struct {
		tag     string
		version int64
		data    string
	}
	var lates, stored []work
	for i := range 100 {
		tag := fmt.Sprintf("%s-%d", prefix, i)
		late := work{tag, take(t, url, tag, "93", 1), "late"}
		lates = append(lates, late)
		for _, data := range []string{"begun", "goes on"} {
			holders[i%10].send(t, tag, late.version, data)
			holders[i%10].see(t, "written")
		}
	}
	for _, holder := range holders {
		holder.pause(t)
	}
	for i, late := range lates {
		holders[i%10].send(t, late.tag, late.version, late.data)
	}
	for _, late := range lates {
		newest := work{late.tag, take(t, url, late.tag, "94", 600), "of the next holder"}
		stored = append(stored, newest)
		next.send(t, newest.tag, newest.version, newest.data)
		next.see(t, "written")
	}
	for _, holder := range holders {
		holder.signal(t, syscall.SIGCONT)
	}
	for i, late := range lates {
		holders[i%10].see(t, fmt.Sprintf("refused: version %d is older than %d", late.version, stored[i].version))
	}
	t.Logf("%d of 100 late writes are refused", len(lates))

	db, err := sql.Open("sqlite3", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // it was only read
	for _, want := range stored {
		got := work{tag: want.tag}
		row := db.QueryRowContext(t.Context(), "SELECT version, data FROM work WHERE tag = ?", want.tag)
		if err := row.Scan(&got.version, &got.data); err != nil || got != want {
			t.Errorf("the table has %v, %v, want %v", got, err, want)
		}
	}
}

// take takes the spool, as soon as it is free, and returns the version of the lock.
func take(t *testing.T, url, tag, worker string, seconds int) (version int64) {
	t.Helper()
	mutation := fmt.Sprintf(`tomarSpool(input:{tagSpool:%q,workerId:%q,workerNombre:"W",ttlSeconds:%d}){lock{version}}`, tag, worker, seconds)
	testwait.Until(t, mutation+" has the spool", func() bool {
		var answer struct {
			Data struct {
				TomarSpool struct{ Lock struct{ Version int64 } }
			}
			Errors []struct{ Extensions struct{ Code string } }
		}
		ask(t, url, "", "mutation{"+mutation+"}", &answer)
		version = answer.Data.TomarSpool.Lock.Version
		if answer.Errors != nil && answer.Errors[0].Extensions.Code != "SPOOL_OCCUPIED" {
			t.Fatalf("%s is refused with %s", mutation, answer.Errors[0].Extensions.Code)
		}
		return answer.Errors == nil
	})
	return version
}

// writer is a running writer of examples/fencing.
type writer struct {
	process *exec.Cmd
	in      io.Writer
	out     *bufio.Scanner
}

// startWriter starts a writer to the database, which ends with the test.
func startWriter(t *testing.T, command []string, database string) *writer {
	t.Helper()
	process := exec.Command(command[0], append(command[1:], database)...)
	process.Stderr = t.Output()
	// If the test is killed, the system ends a stopped process that is in a group of
	// its own, and one that runs ends with its input.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(2*testwait.Patience, func() { _ = process.Process.Kill() })
	t.Cleanup(func() {
		guard.Stop()
		_ = process.Process.Kill()
		_ = process.Wait() // it was killed
	})
	return &writer{process, in, bufio.NewScanner(out)}
}

// send hands a write to the writer.
func (w *writer) send(t *testing.T, tag string, version int64, data string) {
	t.Helper()
	if err := json.NewEncoder(w.in).Encode(map[string]any{"tag": tag, "version": version, "data": data}); err != nil {
		t.Fatal(err)
	}
}

// see reads the writer's next answer.
func (w *writer) see(t *testing.T, want string) {
	t.Helper()
	if !w.out.Scan() || w.out.Text() != want {
		t.Fatalf("the writer answers %q, %v, want %q", w.out.Text(), w.out.Err(), want)
	}
}

// pause stops the writer, and returns when it stands still.
func (w *writer) pause(t *testing.T) {
	t.Helper()
	w.signal(t, syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(w.process.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the writer is not stopped: %v, %v", status, err)
	}
}

func (w *writer) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := w.process.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// Either writer has the statements that the README shows, and prints what it shows.
func TestFencingReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("fencing/README.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```sql\n(.*?);\n\n(.*?);\n```.*<<'END'\n(.*?)END\n```\n\nprints\n\n```\n(.*?)```").FindStringSubmatch(string(readme))
	if shown == nil {
		t.Fatal("the README does not show the statements, a run and what it prints")
	}
	table, write, input, output := shown[1], shown[2], shown[3], shown[4]
	for _, name := range []string{"fencing.go", "fencing.py"} {
		source, err := os.ReadFile("fencing/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(source), table) || !strings.Contains(string(source), write) {
			t.Errorf("%s does not have the statements of the README", name)
		}
	}
	for language, command := range fencing {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			command := append(command(t), filepath.Join(t.TempDir(), "work.db"))
			process := exec.Command(command[0], command[1:]...)
			process.Stdin, process.Stderr = strings.NewReader(input), t.Output()
			if got, err := process.Output(); err != nil || string(got) != output {
				t.Errorf("the writer prints\n%s%v, want\n%s", got, err, output)
			}
		})
	}
}
