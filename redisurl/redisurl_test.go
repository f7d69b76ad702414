package redisurl

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"testing"
)

var accepted = map[string]URL{
	"embedded://":                           {Form: Embedded},
	"redis://a":                             {Hosts: []string{"a:6379"}},
	"redis://a:":                            {Hosts: []string{"a:6379"}},
	"redis://a:65535/65535":                 {Hosts: []string{"a:65535"}, DB: 65535},
	"redis://u:p%40@a:1/2":                  {Hosts: []string{"a:1"}, Username: "u", Password: "p@", DB: 2},
	"redis://u:p,q:r@s@a_b-c.d":             {Hosts: []string{"a_b-c.d:6379"}, Username: "u", Password: "p,q:r@s"},
	"redis://[::1]:7/":                      {Hosts: []string{"[::1]:7"}},
	"redis://[fe80::1%25eth0]":              {Hosts: []string{"[fe80::1%eth0]:6379"}},
	"redis+sentinel://a,b:1/spools":         {Form: Sentinel, Hosts: []string{"a:26379", "b:1"}, Master: "spools"},
	"redis+sentinel://a/spools/":            {Form: Sentinel, Hosts: []string{"a:26379"}, Master: "spools"},
	"redis+sentinel://:p@[::1]:1,[::2]/m/3": {Form: Sentinel, Hosts: []string{"[::1]:1", "[::2]:26379"}, Password: "p", Master: "m", DB: 3},
	"redis+cluster://u:p@a:1,b":             {Form: Cluster, Hosts: []string{"a:1", "b:6379"}, Username: "u", Password: "p"},
	"redis+cluster://a/":                    {Form: Cluster, Hosts: []string{"a:6379"}},
	"rediss://a":                            {TLS: true, Hosts: []string{"a:6379"}},
	"rediss+sentinel://a/m":                 {Form: Sentinel, TLS: true, Hosts: []string{"a:26379"}, Master: "m"},
	"rediss+cluster://a":                    {Form: Cluster, TLS: true, Hosts: []string{"a:6379"}},
}

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range accepted {
		if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is\n%#v, %v; want\n%#v", text, plain(got), err, plain(want))
		}
	}
}

var refused = map[string]error{
	"":                                   errScheme,
	"hunter2":                            errScheme,
	"http://:hunter2@a":                  errScheme,
	"redis+ring://:hunter2@a":            errScheme,
	"redis+://:hunter2@a":                errScheme,
	"redis+sentinel+://:hunter2@a/m":     errScheme,
	"embedded://:hunter2@a":              errScheme,
	"redis://:hunter2@a,b":               errManyHosts,
	"redis+cluster://:hunter2@a,,b":      errNoHost,
	"redis+cluster://:hunter2@a;b":       errNoHost,
	"redis://:hunter2@<host>":            errNoHost,
	"redis://:6379":                      errNoHost,
	"redis://:hunter2@":                  errNoHost,
	"redis+cluster://:hunter2@a:1,b:-1":  errNoURL,
	"redis+cluster://:hunter2@a:1,b:1e5": errNoURL,
	"redis+cluster://:hunter2@a,b:65536": errPort,
	"redis://:hunter2@a:65536":           errPort,
	"redis://:hunter2@a:0":               errPort,
	"redis://hunter2:10.0.0.1:6379":      errNoURL,
	"redis://:hunter2@::1:6379":          errNoURL,
	"redis://:hunter2@a:b:c":             errNoURL,
	"redis+cluster://:hunter2@a,b:b:c":   errNoURL,
	"redis://:hunter2@a]b":               errNoURL,
	"redis://:hunter2@[::1%25]]:1":       errNoURL,
	"redis://user:12/hunter2@a":          errNoURL,
	"redis+sentinel://u:12?hunter2@a/m":  errNoURL,
	"redis+cluster://u:12#hunter2@a,b":   errNoURL,
	"redis://user:hunter2%@a":            errNoURL,
	"redis://u:hunter2@a,u:hunter2@b":    errManyUsers,
	"redis+sentinel://u:p@a,u:hunter2@b": errManyUsers,
	"redis+sentinel://:hunter2@a,b":      errMaster,
	"redis+sentinel://:hunter2@a//1":     errMaster,
	"redis+sentinel://:hunter2@a/m/x":    errMaster,
	"redis+cluster://:hunter2@a,b/1":     errClusterEnd,
	"redis://:hunter2@a/main":            errDatabase,
	"redis://:hunter2@a/1/2":             errDatabase,
	"redis://:hunter2@a/65536":           errDatabase,
	"redis://:hunter2@a/-1":              errDatabase,
	"rediss://:hunter2@a?skip_verify=1":  errParameters,
	"redis://:hunter2@a/1#x":             errParameters,
	"redis+cluster://:hunter2@a,b?x":     errParameters,
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range refused {
		if _, err := Parse(text); !errors.Is(err, want) {
			t.Errorf("%s is refused with %v, want %v", text, err, want)
		}
	}
}

// What a refused text begins with is known all the same, so that other variables can be
// checked against it.
func TestParseTellsTheFormOfARefusedText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]URL{
		"rediss+sentinel://:hunter2@a": {Form: Sentinel, TLS: true},
		"redis+cluster://:hunter2@a/1": {Form: Cluster},
		"rediss://:hunter2@a/x":        {TLS: true},
		"rediss+ring://:hunter2@a":     {TLS: true},
	} {
		if got, err := Parse(text); err == nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, %v; want %#v", text, plain(got), err, plain(want))
		}
	}
}

func TestURLIsMasked(t *testing.T) {
	t.Parallel()
	u, err := Parse("redis://u:hunter2@a")
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		fmt.Fprintf(&printed, format+"\n", struct{ URL URL }{u})
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&printed, nil), slog.NewTextHandler(&printed, nil)} {
		slog.New(handler).Info("opened", "url", u, "config", struct{ URL URL }{u})
	}
	if strings.Contains(printed.String(), "hunter2") || strings.Count(printed.String(), mask) != 10 {
		t.Errorf("it prints as\n%s", &printed)
	}
}

// plain is a URL that prints with all its fields.
type plain URL

func FuzzParse(f *testing.F) {
	fixed := map[error]bool{}
	for text, err := range refused {
		f.Add(text)
		fixed[err] = true
	}
	for text := range accepted {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := Parse(text)
		if err != nil {
			// Of one of the sentences above, so not of the text; and no secret with it.
			if !fixed[err] || u.Username != "" || u.Password != "" || u.Hosts != nil {
				t.Fatalf("%q is %#v, %v", text, plain(u), err)
			}
			return
		}
		if u.Form == Embedded {
			if text != EmbeddedText {
				t.Fatalf("%q is embedded", text)
			}
			return
		}
		if len(u.Hosts) == 0 || u.Form == Standalone && len(u.Hosts) > 1 || (u.Form == Sentinel) != (u.Master != "") ||
			u.DB < 0 || u.DB > 65535 || u.Form == Cluster && u.DB != 0 {
			t.Fatalf("%q is %#v", text, plain(u))
		}
		for _, pair := range u.Hosts {
			host, port, err := net.SplitHostPort(pair)
			if n, ok := parseNumber(port); err != nil || host == "" || !ok || n == 0 {
				t.Fatalf("%q has the host %q", text, pair)
			}
		}
	})
}
