package lock_test

import (
	"net/netip"
	"strings"
	"testing"

	"spoollock/lock"
)

var addresses = map[string]struct{ text, address, network string }{
	"IPv4":                        {"203.0.113.7", "203.0.113.7", "203.0.113.7"},
	"with a port":                 {"203.0.113.7:51234", "203.0.113.7", "203.0.113.7"},
	"with a port that is none":    {"203.0.113.7:https", "203.0.113.7", "203.0.113.7"},
	"with an empty port":          {"203.0.113.7:", "203.0.113.7", "203.0.113.7"},
	"in brackets":                 {"[203.0.113.7]", "203.0.113.7", "203.0.113.7"},
	"in brackets with a port":     {"[203.0.113.7]:51234", "203.0.113.7", "203.0.113.7"},
	"IPv6":                        {"2001:db8::5", "2001:db8::5", "2001:db8::/64"},
	"IPv6 of another interface":   {"2001:db8::1:2:3:4", "2001:db8::1:2:3:4", "2001:db8::/64"},
	"IPv6 of the next network":    {"2001:db8:0:1::5", "2001:db8:0:1::5", "2001:db8:0:1::/64"},
	"IPv6 in brackets":            {"[2001:db8::5]", "2001:db8::5", "2001:db8::/64"},
	"IPv6 with a port":            {"[2001:db8::5]:51234", "2001:db8::5", "2001:db8::/64"},
	"IPv6 in upper case":          {"2001:DB8::A", "2001:db8::a", "2001:db8::/64"},
	"IPv6 with its zeros":         {"2001:0db8:0000:0000:0000:0000:0000:0005", "2001:db8::5", "2001:db8::/64"},
	"IPv6 with a zone":            {"fe80::1%eth0", "fe80::1", "fe80::/64"},
	"IPv6 with a zone and port":   {"[fe80::1%eth0]:51234", "fe80::1", "fe80::/64"},
	"IPv6 loopback":               {"[::1]:51234", "::1", "::/64"},
	"mapped":                      {"::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"},
	"mapped in hexadecimal":       {"::ffff:cb00:7107", "203.0.113.7", "203.0.113.7"},
	"mapped in upper case":        {"::FFFF:CB00:7107", "203.0.113.7", "203.0.113.7"},
	"mapped with its zeros":       {"0:0:0:0:0:ffff:cb00:7107", "203.0.113.7", "203.0.113.7"},
	"mapped with a port":          {"[::ffff:203.0.113.7]:51234", "203.0.113.7", "203.0.113.7"},
	"compatible, which is IPv6":   {"::203.0.113.7", "::cb00:7107", "::/64"},
	"white space around it":       {" \t203.0.113.7\u00a0\r\n", "203.0.113.7", "203.0.113.7"},
	"half a bracket":              {"[203.0.113.7", "unknown", "unknown"},
	"the other half":              {"203.0.113.7]", "unknown", "unknown"},
	"a bracket":                   {"[", "unknown", "unknown"},
	"nothing":                     {"", "unknown", "unknown"},
	"a word":                      {"unknown", "unknown", "unknown"},
	"a word with a port":          {"unknown:0", "unknown", "unknown"},
	"a name":                      {"localhost:8080", "unknown", "unknown"},
	"a Unix socket":               {"unix:", "unknown", "unknown"},
	"of the header Forwarded":     {"for=203.0.113.7", "unknown", "unknown"},
	"in quotation marks":          {`"203.0.113.7"`, "unknown", "unknown"},
	"IPv4 too short":              {"203.0.113", "unknown", "unknown"},
	"IPv4 too large":              {"203.0.113.256", "unknown", "unknown"},
	"IPv4 that may be octal":      {"203.0.113.007", "unknown", "unknown"},
	"IPv4 as one number":          {"3405803783", "unknown", "unknown"},
	"IPv4 with a zone":            {"203.0.113.7%eth0", "unknown", "unknown"},
	"IPv6 too long":               {"2001:db8:1:2:3:4:5:6:7", "unknown", "unknown"},
	"a network":                   {"2001:db8::/64", "unknown", "unknown"},
	"two addresses":               {"203.0.113.7 203.0.113.8", "unknown", "unknown"},
	"white space in it":           {"203.0. 113.7", "unknown", "unknown"},
	"another bracket in brackets": {"[[2001:db8::5]]", "unknown", "unknown"},
	"digits that are not ASCII":   {"٢٠٣.0.113.7", "unknown", "unknown"},
	"a NUL":                       {"203.0.113.7\x00", "unknown", "unknown"},
	"10 KB":                       {strings.Repeat("203.0.113.7 ", 900), "unknown", "unknown"},
}

// However an address is written, it is one address, and the limits count its network.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, test := range addresses {
		a := lock.ParseAddress(test.text)
		if got := a.String(); got != test.address {
			t.Errorf("%s is %s, want %s", name, got, test.address)
		}
		if got := a.Network(); got != test.network {
			t.Errorf("%s counts as %s, want %s", name, got, test.network)
		}
	}
}

func TestAddressRanges(t *testing.T) {
	t.Parallel()
	ranges := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for text, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "[fd00::1%eth0]:80": true,
		"11.0.0.1": false, "2001:db8::5": false, "": false,
	} {
		if got := lock.ParseAddress(text).In(ranges); got != want {
			t.Errorf("%s is in the ranges: %t", text, got)
		}
	}
}

// What an address is printed as is read as the same address.
func FuzzParseAddress(f *testing.F) {
	for _, seed := range addresses {
		f.Add(seed.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := lock.ParseAddress(text)
		if again := lock.ParseAddress(a.String()); again != a {
			t.Errorf("%q is %v, and %v is %v", text, a, a, again)
		}
		if a.Network() == "" || (a == lock.Address{}) != (a.String() == "unknown") {
			t.Errorf("%q is %v in %q", text, a, a.Network())
		}
	})
}
