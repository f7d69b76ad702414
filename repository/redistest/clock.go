package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"spoollock/testwait"
)

// Clock as an option of [Start], [StartSentinels] or [StartCluster] gives each server
// a wall clock that [Server.MoveClock] moves. It costs speed, for the server asks a
// file at each look at the clock. It needs faketime, as [Start] needs redis-server.
const Clock = "a clock that moves"

// preloaded is the library that faketime loads. Processes that are killed leave semaphores
// behind, which are named by process ids, and faketime fails where it gets the id of one.
var preloaded = sync.OnceValues(func() (library string, err error) {
	for range 100 {
		var out []byte
		if out, err = exec.Command("faketime", "-m", "-f", "+0s", "printenv", "LD_PRELOAD").Output(); err == nil {
			return strings.TrimSpace(string(out)), nil
		}
	}
	return "", err
})

// forgetClock removes what faketime shares with the children of a process that was killed: a
// later process of the same id could not start.
func forgetClock(pid int) {
	for _, name := range []string{"faketime_shm_", "sem.faketime_sem_"} {
		_ = os.Remove(filepath.Join("/dev/shm", name+strconv.Itoa(pid)))
	}
}

// takeClock takes [Clock] out of the options.
func (s *Server) takeClock(options []string) []string {
	s.t.Helper()
	i := slices.Index(options, Clock)
	if i < 0 {
		return options
	}
	NeedProgram(s.t, "faketime", "needs Debian's faketime")
	// The wrapper would be the server's parent, and be killed in its stead.
	preload, err := preloaded()
	if err != nil {
		s.t.Fatal(fmt.Errorf("ask faketime for its library: %w", err))
	}
	s.env = []string{
		// Debian's Redis has an allocator that looks at the clock while faketime allocates,
		// for ever; libc's comes before it.
		"LD_PRELOAD=" + preload + " libc.so.6",
		"FAKETIME_TIMESTAMP_FILE=" + s.clock(), "FAKETIME_NO_CACHE=1",
		// A machine whose clock is set keeps counting its uptime, and the times of its files.
		"FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1",
	}
	s.setClock(0)
	return slices.Delete(slices.Clone(options), i, i+1)
}

func (s *Server) clock() string { return filepath.Join(s.dir, "clock") }

func (s *Server) setClock(offset time.Duration) {
	s.t.Helper()
	// The server may read the file at any moment.
	err := os.WriteFile(s.clock()+".next", fmt.Appendf(nil, "%+.3fs\n", offset.Seconds()), 0o600)
	if err = errors.Join(err, os.Rename(s.clock()+".next", s.clock())); err != nil {
		s.t.Fatal(err)
	}
}

// MoveClock sets how far the server's clock is ahead of the true one, or behind it
// where the offset is negative; 0 puts it right. Milliseconds count. It returns when
// the server's clock has moved, and at once where it does not run, to which it
// applies when it starts. The server must have been started with [Clock].
func (s *Server) MoveClock(offset time.Duration) {
	s.t.Helper()
	s.setClock(offset)
	if s.process == nil {
		return
	}
	testwait.Until(s.t, "the clock has moved", func() bool {
		now, err := s.control.Time(context.Background()).Result()
		return err == nil && (time.Until(now)-offset).Abs() < time.Second
	})
}
