// Package redisurl parses the text that says where Redis is:
//
//	redis://[user:password@]host[:port][/db]
//	redis+sentinel://[user:password@]host[:port],…/master[/db]
//	redis+cluster://[user:password@]host[:port],…
//	embedded://
//
// The first three are the same with rediss for TLS. The hosts of the second are
// Sentinels, which say where the master of that name is; those of the third are some of
// the nodes. User and password are those of the Redis. The last asks for a Redis inside
// this process.
package redisurl

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// EmbeddedText is the text that [Parse] takes for [Embedded].
const EmbeddedText = "embedded://"

// Form is what a URL leads to.
type Form int

// The forms of a URL.
const (
	Standalone Form = iota
	Sentinel
	Cluster
	Embedded
)

// URL is a parsed text. It prints as "[redis url]" in fmt, slog and JSON, because it can
// hold a password.
type URL struct {
	Form Form
	TLS  bool

	Username, Password string

	// Hosts are pairs of host and port, one of them for Standalone, at least one for
	// Sentinel and Cluster.
	Hosts []string

	Master string // the name that the Sentinels know it by
	DB     int    // the number of the database
}

const mask = "[redis url]"

// Format prints "[redis url]" for every verb.
func (URL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// MarshalText returns "[redis url]".
func (URL) MarshalText() ([]byte, error) { return []byte(mask), nil }

// What is wrong with a text. Each goes on a sentence that begins with the name of the
// variable, and none quotes the text, which can hold a password.
var (
	errScheme     = errors.New("must begin with redis://, redis+sentinel://, redis+cluster:// or the same with rediss, or be embedded://")
	errParameters = errors.New("must have no parameters, the other variables set the options")
	errManyHosts  = errors.New("must name one host; several go with redis+sentinel:// and redis+cluster://")
	errNoURL      = errors.New("is not a URL: in a user or password write / ? # @ : % as %2F %3F %23 %40 %3A %25")
	errManyUsers  = errors.New("must have one user and password, before the first host; in either write @ as %40")
	errNoHost     = errors.New("must name one host, or several with commas between them")
	errPort       = errors.New("must have a port from 1 to 65535")
	errMaster     = errors.New("must end in the name of the master, and in nothing or the number of a database after it")
	errClusterEnd = errors.New("must end in nothing after the hosts of a Cluster, which has one database")
	errDatabase   = errors.New("must end in nothing or in the number of a database")
)

// Parse checks what can be checked without connecting. Its error goes on a sentence that
// begins with the name of the variable, and never shows the text. With an error, the URL
// has the form and the TLS that the text begins with, and nothing else.
func Parse(text string) (URL, error) {
	if text == EmbeddedText {
		return URL{Form: Embedded}, nil
	}
	scheme, rest, _ := strings.Cut(text, "://")
	scheme, form, plus := strings.Cut(scheme, "+")
	begun := URL{TLS: scheme == "rediss"}
	switch form {
	case "sentinel":
		begun.Form = Sentinel
	case "cluster":
		begun.Form = Cluster
	default:
		if plus {
			return begun, errScheme
		}
	}
	if scheme != "redis" && scheme != "rediss" {
		return begun, errScheme
	}
	at := strings.LastIndex(rest, "@") + 1
	user := rest[:at]
	if _, more, _ := strings.Cut(user, "@"); strings.Contains(more, ",") {
		return begun, errManyUsers // the hosts between them would count as password
	}
	hosts, path, _ := strings.Cut(rest[at:], "/")
	if strings.ContainsAny(hosts+path, "?#") {
		return begun, errParameters
	}
	parsed := begun
	if err := parsed.parseHosts(user, hosts); err != nil {
		return begun, err
	}
	if err := parsed.parsePath(path); err != nil {
		return begun, err
	}
	return parsed, nil
}

func (u *URL) parseHosts(user, hosts string) error {
	list := strings.Split(hosts, ",")
	if u.Form == Standalone && len(list) > 1 {
		return errManyHosts
	}
	for _, text := range list {
		host, err := url.Parse("redis://" + user + text)
		switch {
		case err != nil, host.Path != "", host.RawQuery != "", host.Fragment != "",
			strings.Contains(host.Hostname(), ":") && !strings.HasPrefix(host.Host, "["):
			return errNoURL
		case host.Hostname() == "", strings.ContainsAny(host.Hostname(), inNoName) && !strings.HasPrefix(host.Host, "["):
			return errNoHost
		}
		port := cmp.Or(host.Port(), u.defaultPort())
		if n, ok := parseNumber(port); !ok || n == 0 {
			return errPort
		}
		pair := net.JoinHostPort(host.Hostname(), port)
		if _, _, err := net.SplitHostPort(pair); err != nil {
			return errNoURL // a bracket that net/url lets pass
		}
		u.Hosts = append(u.Hosts, pair)
		u.Username = host.User.Username()
		u.Password, _ = host.User.Password()
	}
	return nil
}

// inNoName are characters that net/url lets pass in a host, and that no name can have.
const inNoName = "!\"$&'()*+;<=>~"

func (u *URL) defaultPort() string {
	if u.Form == Sentinel {
		return "26379"
	}
	return "6379"
}

func (u *URL) parsePath(path string) error {
	problem := errDatabase
	switch u.Form {
	case Cluster:
		if path != "" {
			return errClusterEnd
		}
	case Sentinel:
		problem = errMaster
		if u.Master, path, _ = strings.Cut(path, "/"); u.Master == "" {
			return problem
		}
	}
	db, ok := parseNumber(path)
	if !ok {
		return problem
	}
	u.DB = db
	return nil
}

// parseNumber accepts 0 to 65535, and nothing at all for 0.
func parseNumber(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), s == "" || err == nil
}
