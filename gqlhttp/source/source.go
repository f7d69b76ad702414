// Package source lets the resolver of a subscription return a source of events, where
// gqlgen wants a channel. The executor of the operation can then make the response to an
// event once, for all subscriptions that ask for the same. It knows nothing of HTTP.
package source

import "context"

// Source is where the events of one subscription come from. Events that are equal, such as
// pointers to the same value, are the same event, which nothing may change: several
// sources return it, each at its own time.
type Source[E comparable] interface {
	// Next waits for the next event. It returns an error at the end, and when ctx is done.
	Next(ctx context.Context) (E, error)

	// Close is called once, when Next is not called any more.
	Close()
}

// Sized is an event that says how many bytes of memory it takes, about. Another one is taken for
// small: the newest events are kept with the responses to them.
type Sized interface{ Size() int }

// Follow returns the channel that a subscription's resolver returns to gqlgen, once nothing
// can fail any more. Value makes the value of the field from an event.
//
// In a context of [Listen] the source is opened and left to the listener. In one of
// [WithEvent] there is only that event, and no source. In any other context the events of the
// source go through the channel until ctx is done; nothing is queued.
func Follow[E comparable, T any](ctx context.Context, open func() Source[E], value func(E) T) <-chan T {
	switch given := ctx.Value(contextKey{}).(type) {
	case *Listener:
		events := open()
		given.next = func(ctx context.Context) (any, error) { return events.Next(ctx) }
		given.close = events.Close
		return nil
	case E:
		values := make(chan T, 1)
		values <- value(given)
		return values
	default:
		values := make(chan T)
		go pass(ctx, open(), values, value)
		return values
	}
}

func pass[E comparable, T any](ctx context.Context, events Source[E], values chan<- T, value func(E) T) {
	defer close(values)
	defer events.Close()
	for {
		event, err := events.Next(ctx)
		if err != nil {
			return
		}
		select {
		case values <- value(event):
		case <-ctx.Done():
			return
		}
	}
}

// contextKey is of a *Listener, or of an event.
type contextKey struct{}

// Listener takes the source of one execution. Its methods are for one goroutine at a time, and
// all but HasSource only for a listener that has a source.
type Listener struct {
	next  func(context.Context) (any, error)
	close func()
}

// Listen returns a context for the execution of a subscription, whose source goes to the
// listener.
func Listen(ctx context.Context) (context.Context, *Listener) {
	l := &Listener{}
	return context.WithValue(ctx, contextKey{}, l), l
}

// WithEvent returns a context in which the execution of the same subscription has a response
// to this event, and no further one.
func WithEvent(ctx context.Context, event any) context.Context {
	return context.WithValue(ctx, contextKey{}, event)
}

// HasSource reports whether the resolver was executed and has called [Follow].
func (l *Listener) HasSource() bool { return l.next != nil }

// Next is that of the source.
func (l *Listener) Next(ctx context.Context) (event any, err error) { return l.next(ctx) }

// Close is that of the source.
func (l *Listener) Close() { l.close() }
