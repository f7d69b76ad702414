package lock

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Address is the IP address of a client. The zero Address is unknown.
type Address struct{ ip netip.Addr }

// ParseAddress reads an address as RemoteAddr and proxies write it: with a port or
// without, in brackets or not, with white space around it. An IPv4 address that is mapped
// into IPv6 is the IPv4 address, and a zone is ignored. Anything else is unknown.
func ParseAddress(text string) Address {
	text = strings.TrimSpace(text)
	host, _, err := net.SplitHostPort(text)
	if err != nil { // there is no port
		host = text
		if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
			host = text[1 : len(text)-1]
		}
	}
	ip, _ := netip.ParseAddr(host)
	return Address{ip.Unmap().WithZone("")}
}

// String returns the address, or "unknown".
func (a Address) String() string {
	if !a.ip.IsValid() {
		return "unknown"
	}
	return a.ip.String()
}

// Network returns what the limits per address count by: the IPv4 address; of an IPv6
// address its /64, which is what one subscriber has; or "unknown".
func (a Address) Network() string {
	if a.ip.Is6() {
		return netip.PrefixFrom(a.ip, 64).Masked().String()
	}
	return a.String()
}

// In reports whether one of the ranges contains the address.
func (a Address) In(ranges []netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(a.ip) })
}
