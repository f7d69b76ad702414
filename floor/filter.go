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

// filterKey is equal for filters that ask for the same.
type filterKey struct {
	owner  lock.WorkerID
	prefix string
	tags   string // a tag has no control characters
}

func (f Filter) key() filterKey {
	var tags strings.Builder
	for _, tag := range f.tags {
		tags.WriteString(string(tag) + "\n")
	}
	return filterKey{f.owner, f.prefix, tags.String()}
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
	visit := func(e *entry) bool {
		switch {
		case e.tag == after:
			return true
		case !strings.HasPrefix(string(e.tag), f.prefix):
			return false // beyond it, as it began with it
		default:
			return !f.matches(e.tag, e.owner.Value().ID) || found(e)
		}
	}
	if f.tags == nil {
		if entries := v.of(f.owner); entries != nil {
			entries.Ascend(&entry{tag: start}, visit)
		}
		return
	}
	at, _ := slices.BinarySearch(f.tags, start)
	for _, tag := range f.tags[at:] {
		if e, ok := v.held[tag]; ok && !visit(e) {
			return
		}
	}
}

// of are the entries of an owner, or all if it is empty. It is nil if there are none.
func (v *View) of(owner lock.WorkerID) *byTag {
	if owner == "" {
		return v.ordered
	}
	return v.owners[owner]
}

// count is how many locks match. It takes no longer for many than for few.
func (v *View) count(f Filter) (n int) {
	if f.tags != nil {
		v.each(f, "", func(*entry) bool { n++; return true })
	} else if entries := v.of(f.owner); entries != nil {
		n = countPrefix(entries, f.prefix)
	}
	return n
}

// countPrefix is how many tags begin with prefix.
func countPrefix(entries *byTag, prefix string) int {
	tag := func(i int) string {
		e, _ := entries.GetAt(i)
		return string(e.tag)
	}
	n := entries.Len()
	begin := sort.Search(n, func(i int) bool { return tag(i) >= prefix })
	return sort.Search(n-begin, func(i int) bool { return !strings.HasPrefix(tag(begin+i), prefix) })
}
