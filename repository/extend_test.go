package repository_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"spoollock/lock"
	"spoollock/redisurl"
	"spoollock/repository/redistest"
)

// Of each kind of ids the newest 16 are remembered, whatever there is of the other. A retry
// of an extension whose id is not among them is never applied again.
func TestExtensionsOfBothKindsAreForgotten(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"redis": redistest.Start(t).URL, "embedded": redisurl.EmbeddedText} {
		for _, ofClient := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, of a client: %t", name, ofClient), func(t *testing.T) {
				t.Parallel()
				store := open(t, url)
				take := lock.TakeCommand{Tag: newTag(), Owner: lock.Worker{ID: "93"}, TTL: time.Hour, Token: lock.NewToken("93", newRequestID(t))}
				if result := store.Take(t.Context(), []lock.TakeCommand{take})[0]; result.Err != nil {
					t.Fatal(result.Err)
				}
				extension := func(ofClient bool) lock.ExtendCommand {
					return lock.ExtendCommand{
						Tag: take.Tag, Token: take.Token, By: time.Second, MaxTTL: 12 * time.Hour, ID: newRequestID(t), OfClient: ofClient,
					}
				}
				extend := func(cmd lock.ExtendCommand) (lock.Lock, error) {
					result := store.Extend(t.Context(), []lock.ExtendCommand{cmd})[0]
					return result.Value, result.Err
				}
				var sent []lock.ExtendCommand
				var gave []time.Time
				for i := range 20 {
					cmd := extension((i%8 == 3) != ofClient) // each eighth is of the other kind
					extended, err := extend(cmd)
					if err != nil {
						t.Fatal(err)
					}
					if cmd.OfClient == ofClient {
						sent, gave = append(sent, cmd), append(gave, extended.ExpiresAt)
					}
				}
				before := store.Read(t.Context(), []lock.Tag{take.Tag})[0].Value.Lock.ExpiresAt
				for i, cmd := range sent {
					cmd.SinceFirst = time.Minute
					extended, err := extend(cmd)
					unavailable := (*lock.UnavailableError)(nil)
					switch {
					case i > 0 && (err != nil || extended.ExpiresAt != gave[i]):
						t.Errorf("the retry of extension %d is answered %v, %v; want %v", i, extended.ExpiresAt, err, gave[i])
					case i == 0 && (!errors.As(err, &unavailable) || unavailable.Outcome != lock.OutcomeUnknown):
						t.Errorf("the retry of the one that is forgotten is answered %v, %v", extended, err)
					}
				}
				if after := store.Read(t.Context(), []lock.Tag{take.Tag})[0].Value.Lock.ExpiresAt; after != before {
					t.Errorf("the lock expires at %v after retries, and at %v before", after, before)
				}
			})
		}
	}
}

func newRequestID(t *testing.T) lock.RequestID {
	t.Helper()
	id, err := lock.NewRequestID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}
