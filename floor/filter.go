package floor

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"spoollock/lock"
)

// MaxFilterTags is the most tags of a [Filter].
const MaxFilterTags = 100

// maxOwnerLength is the most characters of an owner to filter by. Another
// program's locks can have owners that no worker could have here.
const maxOwnerLength = 256

// Filter says which locks are asked for: those that meet all of it. The zero value
// asks for all.
type Filter struct {
	owner  lock.WorkerID // empty: anybody's
	prefix string
	tags   []lock.Tag // sorted; nil: all
}

// FilterRequest is a [Filter] as a client wrote it; nil: not asked for.
type FilterRequest struct {
	OwnerID   *string
	TagPrefix *string
	Tags      []string
}

// ParseFilter returns *lock.InvalidError where the owner has not 1 to 256
// characters, the prefix more than 64, or there are not 1 to 100 tags, or one of
// them is none. A tag twice counts once.
func ParseFilter(tags lock.TagParser, req FilterRequest) (Filter, error) {
	var f Filter
	if req.OwnerID != nil {
		if n := utf8.RuneCountInString(*req.OwnerID); n < 1 || n > maxOwnerLength {
			return f, outOfBounds(lock.FieldOwner, "characters", 1, maxOwnerLength)
		}
		f.owner = lock.WorkerID(*req.OwnerID)
	}
	if req.TagPrefix != nil {
		if utf8.RuneCountInString(*req.TagPrefix) > lock.MaxTagLength {
			return f, outOfBounds(lock.FieldTagPrefix, "characters", 0, lock.MaxTagLength)
		}
		f.prefix = tags.Prefix(*req.TagPrefix)
	}
	if req.Tags != nil {
		if len(req.Tags) < 1 || len(req.Tags) > MaxFilterTags {
			return f, outOfBounds(lock.FieldTags, "tags", 1, MaxFilterTags)
		}
		for _, s := range req.Tags {
			tag, err := tags.ParseOneOf(s)
			if err != nil {
				return f, err
			}
			f.tags = append(f.tags, tag)
		}
		slices.Sort(f.tags)
		f.tags = slices.Compact(f.tags)
	}
	return f, nil
}

func outOfBounds(field lock.Field, of string, minimum, maximum int64) *lock.InvalidError {
	return &lock.InvalidError{
		Field: field, Reason: lock.ReasonOutOfRange, Min: &minimum, Max: &maximum,
		Problem: fmt.Sprintf("must have %d to %d %s", minimum, maximum, of),
	}
}

// matches reports whether a spool that owner holds is asked for. Nobody's never
// is.
func (f Filter) matches(tag lock.Tag, owner lock.WorkerID) bool {
	if owner == "" || f.owner != "" && owner != f.owner || !strings.HasPrefix(string(tag), f.prefix) {
		return false
	}
	if f.tags == nil {
		return true
	}
	_, found := slices.BinarySearch(f.tags, tag)
	return found
}

// each calls found with what matches, in the order of tags by code point, from the
// first tag that is after the given one, until found returns false. It goes
// through as few entries as the filter allows.
func (v *View) each(f Filter, after lock.Tag, found func(*entry) bool) {
	start := max(after, lock.Tag(f.prefix))
	visit := func(tag lock.Tag, e *entry) bool {
		switch {
		case tag == after:
			return true
		case !strings.HasPrefix(string(tag), f.prefix):
			return false // beyond it, as it began with it
		default:
			return !f.matches(tag, e.owner.Value().ID) || found(e)
		}
	}
	byTag := func(tag lock.Tag) bool {
		e, ok := v.held.Get(tag)
		return !ok || visit(tag, e)
	}
	switch {
	case f.tags != nil:
		at, _ := slices.BinarySearch(f.tags, start)
		for _, tag := range f.tags[at:] {
			if !byTag(tag) {
				return
			}
		}
	case f.owner != "":
		if tags := v.owners[f.owner]; tags != nil {
			tags.Ascend(start, byTag)
		}
	default:
		v.held.Ascend(start, visit)
	}
}

// count is how many locks match. It takes no longer for many than for few.
func (v *View) count(f Filter) (n int) {
	switch {
	case f.tags != nil:
		v.each(f, "", func(*entry) bool { n++; return true })
	case f.owner == "":
		n = countPrefix(v.held.Len(), func(i int) lock.Tag { tag, _, _ := v.held.GetAt(i); return tag }, f.prefix)
	case v.owners[f.owner] != nil:
		tags := v.owners[f.owner]
		n = countPrefix(tags.Len(), func(i int) lock.Tag { tag, _ := tags.GetAt(i); return tag }, f.prefix)
	}
	return n
}

// countPrefix is how many of n tags in order begin with prefix.
func countPrefix(n int, at func(int) lock.Tag, prefix string) int {
	begin := sort.Search(n, func(i int) bool { return string(at(i)) >= prefix })
	return sort.Search(n-begin, func(i int) bool { return !strings.HasPrefix(string(at(begin+i)), prefix) })
}
