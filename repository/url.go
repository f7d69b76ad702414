package repository

import (
	"cmp"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// EmbeddedURL asks [Open] for a Redis inside this process.
const EmbeddedURL = "embedded://"

// errMalformedURL says no more: the URL can hold a password.
var errMalformedURL = errors.New("the redis URL is malformed")

// parseURL reads the forms of [Config.URL]. The client's own parsers know only one
// host, and let parameters of a URL turn off what protects a connection.
func parseURL(text string) (*redis.UniversalOptions, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	scheme, form, _ := strings.Cut(scheme, "+")
	user, hosts := "", rest
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user, hosts = rest[:at+1], rest[at+1:]
	}
	hosts, path, _ := strings.Cut(hosts, "/")
	options := &redis.UniversalOptions{}
	fallback := "6379"
	switch form {
	case "":
	case "sentinel":
		fallback = "26379"
		options.MasterName, path, _ = strings.Cut(path, "/")
	case "cluster":
		options.IsClusterMode = true
	default:
		return nil, errMalformedURL
	}
	for host := range strings.SplitSeq(hosts, ",") {
		u, err := url.Parse("redis://" + user + host)
		if err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, errMalformedURL
		}
		options.Addrs = append(options.Addrs, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), fallback)))
		options.Username = u.User.Username()
		options.Password, _ = u.User.Password()
	}
	db, err := strconv.Atoi("0" + path)
	if scheme != "redis" && scheme != "rediss" || err != nil ||
		form == "" && len(options.Addrs) > 1 || (form == "sentinel") != (options.MasterName != "") || form == "cluster" && path != "" {
		return nil, errMalformedURL
	}
	options.DB = db
	if scheme == "rediss" {
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return options, nil
}
