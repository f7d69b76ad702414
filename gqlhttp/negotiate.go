package gqlhttp

import (
	"mime"
	"strconv"
	"strings"
)

// negotiate chooses the media type of the answer (RFC 9110, section 12.5.1): the
// one of the highest quality, of those the one that is named most closely, of
// those the one that is named first, and the first offer where all is one.
func negotiate(headers []string, offers ...string) (mediaType string, ok bool) {
	header := strings.Join(headers, ",")
	if strings.TrimSpace(header) == "" {
		return offers[0], true
	}
	best := preference{}
	for _, offer := range offers {
		if p := preferenceFor(offer, header); p.quality > 0 && p.beats(best) {
			best, mediaType = p, offer
		}
	}
	return mediaType, mediaType != ""
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

func preferenceFor(offer, header string) preference {
	var found preference
	family, _, _ := strings.Cut(offer, "/")
	for i, element := range strings.Split(header, ",") {
		accepted, options, err := mime.ParseMediaType(element)
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
		closeness := map[string]int{offer: 3, family + "/*": 2, "*/*": 1}[accepted]
		if closeness > found.closeness {
			found = preference{quality: quality, closeness: closeness, position: i}
		}
	}
	return found
}
