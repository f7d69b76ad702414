package gqlhttp

import (
	"mime"
	"strconv"
	"strings"
)

// negotiate chooses the media type of the answer (RFC 9110, section 12.5.1): the
// one of the highest quality, of those the one that is named most closely, of
// those the one that is named first, and the first offer where all is one.
func negotiate(accepted []mediaRange, offers ...string) (mediaType string, ok bool) {
	if accepted == nil {
		return offers[0], true
	}
	best := preference{}
	for _, offer := range offers {
		if p := preferenceFor(offer, accepted); p.quality > 0 && p.beats(best) {
			best, mediaType = p, offer
		}
	}
	return mediaType, mediaType != ""
}

// mediaRange is an element of an Accept header.
type mediaRange struct {
	name    string // application/json, application/* or */*
	quality float64
}

// parseAccept leaves out what is not understood, and another charset than UTF-8. It
// returns nil if there is no header.
func parseAccept(headers []string) []mediaRange {
	if len(headers) == 1 && (headers[0] == typeJSON || headers[0] == typeResponse) { // as most clients send it
		return []mediaRange{{headers[0], 1}}
	}
	header := strings.Join(headers, ",")
	if strings.TrimSpace(header) == "" {
		return nil
	}
	accepted := []mediaRange{}
	for element := range strings.SplitSeq(header, ",") {
		name, options, err := mime.ParseMediaType(element)
		if err != nil {
			continue
		}
		if charset, given := options["charset"]; given && !strings.EqualFold(charset, "utf-8") {
			continue
		}
		quality := 1.0
		if q, given := options["q"]; given {
			if quality, err = strconv.ParseFloat(q, 64); err != nil || quality < 0 || quality > 1 {
				continue
			}
		}
		accepted = append(accepted, mediaRange{name, quality})
	}
	return accepted
}

// preference is what an Accept header says of one media type.
type preference struct {
	quality   float64
	closeness int // 3: named, 2: application/* or the like, 1: */*
	position  int
}

func (p preference) beats(other preference) bool {
	if p.quality != other.quality {
		return p.quality > other.quality
	}
	if p.closeness != other.closeness {
		return p.closeness > other.closeness
	}
	return p.closeness == 3 && p.position < other.position
}

func preferenceFor(offer string, accepted []mediaRange) preference {
	var found preference
	for i, element := range accepted {
		closeness := 0
		family, isFamily := strings.CutSuffix(element.name, "*")
		switch {
		case element.name == offer:
			closeness = 3
		case element.name == "*/*":
			closeness = 1
		case isFamily && strings.HasSuffix(family, "/") && strings.HasPrefix(offer, family):
			closeness = 2
		}
		if closeness > found.closeness {
			found = preference{quality: element.quality, closeness: closeness, position: i}
		}
	}
	return found
}
