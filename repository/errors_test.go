package repository

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

// Where Redis is, and with which password, is nobody's business: neither a caller's nor
// the log's.
func TestErrorsWithoutAddresses(t *testing.T) {
	t.Parallel()
	dial := &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 6379}, Err: os.ErrDeadlineExceeded}
	for name, err := range map[string]error{
		"MOVED":    refusal("MOVED 3738 10.1.2.3:6379"),
		"ASK":      refusal("ASK 3738 10.1.2.3:6379"),
		"network":  dial,
		"look-up":  &net.DNSError{Err: "no such host", Name: "10.1.2.3"},
		"Sentinel": fmt.Errorf("all are unreachable: %w", errors.Join(refusal("NOAUTH Authentication required."), dial)),
		"wrapped":  fmt.Errorf("at 10.1.2.3: %w", refusal("NOPERM no permission")),
		"AUTH":     refusal("ERR unknown command 'auth', with args beginning with: '10.1.2.3' "),
	} {
		if text := withoutAddress(err).Error() + classify("MK-1", err, true).Error(); strings.Contains(text, "10.1.2.3") {
			t.Errorf("%s: %s", name, text)
		}
	}
	// As a client says it whose Sentinels know no such master.
	err := classify("MK-1", fmt.Errorf("all are unreachable: %w", errors.Join(redis.Nil, redis.Nil)), false)
	if unavailable := (*lock.UnavailableError)(nil); !errors.As(err, &unavailable) || unavailable.Outcome != lock.NotApplied ||
		!strings.Contains(err.Error(), "REDIS_URL") {
		t.Errorf("a wrong name of the master: %v", err)
	}
}
