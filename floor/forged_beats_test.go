package floor_test

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"spoollock/repository/redistest"
	"spoollock/testwait"
)

var beatID = regexp.MustCompile(`\{"id":"(.*?)(\d*)@127`)

// Who hears a beat and may publish cannot make the one after it: the view keeps the time of Redis,
// and takes no clock for set.
func TestForgedBeats(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr, nil)
	p := start(t, proxy.URL, seldom)
	p.awaitLive()
	ctx := testwait.Context(t)
	client := server.Client()
	defer client.Close() //nolint:errcheck // the test is over
	heard := client.Subscribe(ctx, "spool_floor2:0")
	defer heard.Close()                 //nolint:errcheck // likewise
	proxy.Delay(500 * time.Millisecond) // a beat is under way for so long before Redis has it
	forged := ""
	for beats := 0; beats < 4; {
		if message, err := heard.ReceiveTimeout(ctx, 20*time.Millisecond); err == nil {
			if id := beatID.FindStringSubmatch(fmt.Sprint(message)); id != nil {
				number, _ := strconv.Atoi(id[2])
				forged = fmt.Sprintf("\nB%015d%054d{\"id\":\"%s%d@other\"}", time.Now().Add(-time.Hour).UnixMilli(), 0, id[1], number+1)
				beats++
			}
		}
		if err := client.Publish(ctx, "spool_floor2:0", forged).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if now := p.view.Status(); now.ClocksSet != 0 || time.Since(now.AsOf) > 30*time.Minute {
		t.Errorf("after forged beats, %d clocks were set, and the view is as of %v", now.ClocksSet, now.AsOf)
	}
}
