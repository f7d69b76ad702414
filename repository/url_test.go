package repository

import (
	"reflect"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]redis.UniversalOptions{
		"redis://a":                             {Addrs: []string{"a:6379"}},
		"redis://u:p%40@a:1/2":                  {Addrs: []string{"a:1"}, Username: "u", Password: "p@", DB: 2},
		"redis://[::1]:7/":                      {Addrs: []string{"[::1]:7"}},
		"redis+sentinel://a,b:1/spools":         {Addrs: []string{"a:26379", "b:1"}, MasterName: "spools"},
		"redis+sentinel://:p@[::1]:1,[::2]/m/3": {Addrs: []string{"[::1]:1", "[::2]:26379"}, Password: "p", MasterName: "m", DB: 3},
		"redis+cluster://u:p@a:1,b":             {Addrs: []string{"a:1", "b:6379"}, Username: "u", Password: "p", IsClusterMode: true},
		"redis+cluster://a/":                    {Addrs: []string{"a:6379"}, IsClusterMode: true},
	} {
		got, err := parseURL(url)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s is\n%+v, %v; want\n%+v", url, got, err, want)
		}
	}
	for _, url := range []string{"rediss://a", "rediss+sentinel://a/m", "rediss+cluster://a"} {
		if got, err := parseURL(url); err != nil || got.TLSConfig == nil || got.TLSConfig.InsecureSkipVerify {
			t.Errorf("%s is %+v, %v", url, got, err)
		}
	}
}
