package redistest_test

import (
	"bytes"
	"testing"
	"time"

	"spoollock/repository/redistest"
)

func TestClientsLoseWhatServersDoNot(t *testing.T) {
	t.Parallel()
	set := redistest.StartSentinels(t, redistest.Clock)
	master := set.Master()
	client := connect(t, master)
	master.Proxy.DropReplies(func(request []byte) bool { return bytes.Contains(request, []byte("lost")) })
	if err := client.Set(t.Context(), "lost", "there", 0).Err(); err == nil {
		t.Error("the reply was not lost")
	}
	master.Proxy.DropReplies(nil)
	wantValue(t, master, "lost", "there")
	const delay = 50 * time.Millisecond
	master.Proxy.Delay(delay)
	began := time.Now()
	must(t, client.Ping(t.Context()).Err())
	if took := time.Since(began); took < delay {
		t.Errorf("answered after %v, want %v", took, delay)
	}
	master.Proxy.Cut()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("the proxy is not cut")
	}
	set.AwaitOK()
	master.Proxy.Mend()
	if set.Master() != master {
		t.Error("the mastership went on")
	}
	wantValue(t, master, "lost", "there")
}
