package gqlhttp_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"spoollock/gqlhttp"
	"spoollock/gqlhttp/gqlhttptest"
)

type roleKey struct{}

// sharing has subscriptions share, by the role that the init names; those of "alone" do not.
func sharing(c *gqlhttp.Config, _ *httptest.Server) {
	c.Authenticate = func(_ *http.Request, header http.Header) (gqlhttp.Caller, *gqlhttp.Refusal) {
		return gqlhttp.Caller{Value: header.Get("role")}, nil
	}
	c.WithCaller = func(ctx context.Context, caller gqlhttp.Caller) context.Context {
		return context.WithValue(ctx, roleKey{}, caller.Value)
	}
	c.ShareKey = func(ctx context.Context, _ *graphql.OperationContext) (string, bool) {
		role, _ := ctx.Value(roleKey{}).(string)
		return role, role != "alone"
	}
}

// as opens a WebSocket of the role.
func (a *api) as(role string, messages ...string) *gqlhttptest.Socket {
	a.t.Helper()
	s := a.open(`{"type":"connection_init","payload":{"role":"` + role + `"}}`)
	s.Want(`{"type":"connection_ack"}`)
	for _, message := range messages {
		s.Send(message)
	}
	return s
}

// followed waits until there are n sources.
func (a *api) followed(n int) {
	a.t.Helper()
	a.waitFor(fmt.Sprintf("%d sources", n), func() bool { return a.trial.Feed.Open() == n })
}

func followsNext(id string, n int) string {
	return fmt.Sprintf(`{"type":"next","id":"%s","payload":{"data":{"follows":%d}}}`, id, n)
}

const follows = "subscription{follows}"

// What subscriptions with the same key are sent is made once, over both transports.
func TestSharedResponses(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, sharing)
	first := a.as("", gqlhttptest.Subscribe("1", follows), gqlhttptest.Subscribe("2", follows))
	second := a.as("", gqlhttptest.Subscribe("another id", follows))
	events := bufio.NewReader(a.stream(`{"query":"` + follows + `"}`).Body)
	a.followed(4)
	for n := range 3 {
		a.trial.Feed.Say(&gqlhttptest.Event{N: n})
		second.Want(followsNext("another id", n))
		got := map[string]bool{}
		for range 2 {
			text, err := first.Read()
			if err != nil {
				t.Fatal(err)
			}
			got[text] = true
		}
		if !got[followsNext("1", n)] || !got[followsNext("2", n)] {
			t.Fatalf("the socket with two subscriptions got %v", got)
		}
		want := fmt.Sprintf("data: {\"data\":{\"follows\":%d}}\n", n)
		for line := ""; line != want; {
			var err error
			if line, err = events.ReadString('\n'); err != nil {
				t.Fatalf("the event stream ends with %v before %q", err, want)
			}
		}
		if made := a.trial.Made.Load(); made != int64(n+1) {
			t.Fatalf("%d responses were made to %d events", made, n+1)
		}
	}
	second.Send(`{"type":"complete","id":"another id"}`)
	a.followed(3)
	a.trial.Feed.Say(nil)
	for range 2 {
		if text, err := first.Read(); err != nil || !strings.HasPrefix(text, `{"type":"complete"`) {
			t.Fatalf("at the end of the source comes %q, %v", text, err)
		}
	}
	a.followed(0)
}

// What may be answered differently is not shared.
func TestUnsharedResponses(t *testing.T) {
	t.Parallel()
	const variables = `{"type":"subscribe","id":"1","payload":{"query":"subscription($a:String,$b:String){follows(of:$a,and:$b)}","variables":%s}}`
	named := func(name string) string {
		return `{"type":"subscribe","id":"1","payload":{"query":"subscription A{follows} subscription B{follows}","operationName":"` + name + `"}}`
	}
	plain := gqlhttptest.Subscribe("1", follows)
	for name, c := range map[string]struct {
		roles, messages [2]string
		made            int64
	}{
		"the same":            {[2]string{}, [2]string{plain, plain}, 1},
		"variables reordered": {[2]string{}, [2]string{fmt.Sprintf(variables, `{"a":"x","b":"y"}`), fmt.Sprintf(variables, `{"b":"y", "a":"x"}`)}, 1},
		"other variables":     {[2]string{}, [2]string{fmt.Sprintf(variables, `{"a":"x"}`), fmt.Sprintf(variables, `{"a":"y"}`)}, 2},
		"other document":      {[2]string{}, [2]string{plain, gqlhttptest.Subscribe("1", "subscription {follows}")}, 2},
		"other operation":     {[2]string{}, [2]string{named("A"), named("B")}, 2},
		"other key":           {[2]string{"", "b"}, [2]string{plain, plain}, 2},
		"no key":              {[2]string{"alone", "alone"}, [2]string{plain, plain}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serveTrial(t, sharing)
			var sockets []*gqlhttptest.Socket
			for i, message := range c.messages {
				sockets = append(sockets, a.as(c.roles[i], message))
			}
			a.followed(2)
			a.trial.Feed.Say(&gqlhttptest.Event{N: 7})
			for _, s := range sockets {
				s.Want(followsNext("1", 7))
			}
			if made := a.trial.Made.Load(); made != c.made {
				t.Errorf("%d responses were made, want %d", made, c.made)
			}
			for _, s := range sockets {
				s.Send(`{"type":"complete","id":"1"}`)
			}
			a.followed(0)
		})
	}
}

// Whose subscription ends while it makes a response does not take it from the others.
func TestSharedResponseOfOneWhoLeaves(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, sharing)
	var sockets []*gqlhttptest.Socket
	for range 3 {
		sockets = append(sockets, a.as("", gqlhttptest.Subscribe("1", follows)))
	}
	a.followed(3)
	begun, release := make(chan bool), make(chan bool)
	a.trial.Feed.Say(&gqlhttptest.Event{N: 1, Before: func(context.Context) {
		close(begun)
		<-release
	}})
	<-begun
	// Two of the three end, so that it is one of them who makes the response, or the last, and
	// then the next event tells.
	for _, s := range sockets[:2] {
		s.Send(`{"type":"complete","id":"1"}`)
		s.Send(`{"type":"ping"}`)
		s.Want(`{"type":"pong"}`)
	}
	close(release)
	sockets[2].Want(followsNext("1", 1))
	a.followed(1)
	a.trial.Feed.Say(&gqlhttptest.Event{N: 2})
	sockets[2].Want(followsNext("1", 2))
}

// A panic is an error of all whose response it was to be.
func TestSharedPanic(t *testing.T) {
	t.Parallel()
	a := serveTrial(t, sharing)
	first, second := a.as("", gqlhttptest.Subscribe("1", follows)), a.as("", gqlhttptest.Subscribe("1", follows))
	a.followed(2)
	a.trial.Feed.Say(&gqlhttptest.Event{Before: func(context.Context) { panic("a trial of panics") }})
	for _, s := range []*gqlhttptest.Socket{first, second} {
		if text, err := s.Read(); err != nil || !strings.HasPrefix(text, `{"type":"error","id":"1"`) {
			t.Errorf("a panic is answered %q, %v", text, err)
		}
	}
	a.followed(0)
}

// Only the newest responses are kept.
func TestSharedResponsesAreBounded(t *testing.T) {
	t.Parallel()
	for name, sizes := range map[string][2]int{"many": {1, 0}, "large": {1 << 20, 0}, "small, to large events": {1, 100_000}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if entries, bytes := gqlhttp.KeptResponses(5000, sizes[0], sizes[1]); entries > 2048 || bytes > 10<<20 {
				t.Errorf("%d responses are kept, of %d bytes", entries, bytes)
			}
		})
	}
}
