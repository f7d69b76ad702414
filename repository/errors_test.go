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
func TestErrorsWithoutSecrets(t *testing.T) {
	t.Parallel()
	dial := &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 6379}, Err: os.ErrDeadlineExceeded}
	for name, err := range map[string]error{
		"MOVED":       refusal("MOVED 3738 10.1.2.3:6379"),
		"ASK":         refusal("ASK 3738 10.1.2.3:6379"),
		"network":     dial,
		"look-up":     &net.DNSError{Err: "no such host", Name: "10.1.2.3"},
		"Sentinel":    fmt.Errorf("all are unreachable: %w", errors.Join(refusal("NOAUTH Authentication required."), dial)),
		"wrapped":     fmt.Errorf("at 10.1.2.3: %w", refusal("NOPERM no permission")),
		"AUTH":        refusal("ERR unknown command 'auth', with args beginning with: '10.1.2.3' "),
		"a proxy":     refusal("ERR invalid password 10.1.2.3"),
		"a class":     refusal("WRONGPASS 10.1.2.3 is not the password of default"),
		"no class":    refusal("10.1.2.3 is not allowed"),
		"a script":    refusal("ERR user_script:12: 10.1.2.3 script: 1, on @user_script:12."),
		"a handshake": fmt.Errorf("failed to authenticate: %w", refusal("NOPERM 10.1.2.3")),
		"no Redis":    errors.New(`redis: can't parse "HTTP/1.1 400 10.1.2.3"`),
		"no number":   errors.New("failed to authenticate: redis: can't parse int reply: 10.1.2.3"),
		"no length":   errors.New(`redis: invalid reply: "$10.1.2.3"`),
	} {
		if text := withoutSecrets(err).Error() + classify("MK-1", err, true).Error(); strings.Contains(text, "10.1.2.3") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if text := withoutSecrets(refusal("ERR max number of clients reached")).Error(); !strings.Contains(text, "clients") {
		t.Errorf("a Redis without room for a client: %s", text)
	}
	// As a client says it whose Sentinels know no such master.
	err := classify("MK-1", fmt.Errorf("all are unreachable: %w", errors.Join(redis.Nil, redis.Nil)), false)
	if unavailable := (*lock.UnavailableError)(nil); !errors.As(err, &unavailable) || unavailable.Outcome != lock.NotApplied ||
		!strings.Contains(err.Error(), "REDIS_URL") {
		t.Errorf("a wrong name of the master: %v", err)
	}
}
