package gqlhttptest

import (
	"context"
	"sync"

	"spoollock/gqlhttp/source"
)

// Event is what the subscription follows sends.
type Event struct {
	N      int
	Before func(context.Context) // if set, called before a response is made
}

// Feed tells each of its sources of the same events.
type Feed struct {
	mu   sync.Mutex
	open map[*feedSource]bool
}

type feedSource struct {
	feed   *Feed
	events chan *Event
}

func (f *Feed) subscribe() source.Source[*Event] {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &feedSource{f, make(chan *Event, 100)}
	if f.open == nil {
		f.open = map[*feedSource]bool{}
	}
	f.open[s] = true
	return s
}

// Open is how many sources there are.
func (f *Feed) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// Say tells all sources of an event. Nil is their end.
func (f *Feed) Say(event *Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.open {
		s.events <- event
	}
}

// Next implements [source.Source].
func (s *feedSource) Next(ctx context.Context) (*Event, error) {
	select {
	case event := <-s.events:
		if event == nil {
			return nil, context.Canceled
		}
		return event, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close implements [source.Source].
func (s *feedSource) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.open, s)
}
