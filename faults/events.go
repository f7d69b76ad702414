package faults

import "fmt"

// Event is a change of a spool as its history tells it.
type Event struct {
	Type    string
	OwnerID string
	Version int64
}

// maxEvents is how many events of a spool the service keeps.
const maxEvents = 100

// CheckEvents compares a spool's history, newest first, with the operations on it that
// were answered, and returns a sentence for each difference. Where a failover may have
// come between, events may be missing, and what was lost may have been taken again.
func CheckEvents(events []Event, operations []*Operation) (differences []string) {
	differ := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	begun, extended, released := map[string]int64{}, map[string]int64{}, map[string]int{}
	var holder string
	var version int64
	for i := len(events) - 1; i >= 0; i-- {
		event, first := events[i], i == len(events)-1 && len(events) == maxEvents
		switch event.Type {
		case "TAKEN", "TAKEN_EXTERNALLY":
			if holder != "" || event.Version <= version {
				differ("%+v comes after version %d, while %q holds", event, version, holder)
			}
			if _, twice := begun[event.OwnerID]; twice {
				differ("%+v comes twice", event)
			}
			holder, begun[event.OwnerID] = event.OwnerID, event.Version
		case "EXTENDED":
			if !first && (holder != event.OwnerID || event.Version != version) {
				differ("%+v comes while %q holds at %d", event, holder, version)
			}
			holder, extended[event.OwnerID] = event.OwnerID, event.Version
		case causeReleased, causeExpired, causeForeign:
			if !first && holder != event.OwnerID || event.Version <= version {
				differ("%+v comes after version %d, while %q holds", event, version, holder)
			}
			holder = ""
			if event.Type == causeReleased {
				released[event.OwnerID]++
			}
		default:
			differ("%+v is of no type that there is", event)
		}
		version = event.Version
	}
	oldest := int64(0)
	if len(events) == maxEvents {
		oldest = events[len(events)-1].Version
	}
	asked := map[string]bool{}
	for _, o := range operations {
		asked[o.Owner()] = true
		version, told := begun[o.Owner()]
		switch {
		case o.InDoubt:
		case o.Kind == Take && o.Outcome == Taken && told && version != o.Lock.Version:
			differ("%s took at %d, and the history says %d", o.Owner(), o.Lock.Version, version)
		case o.Kind == Take && o.Outcome == Taken && !told && o.Lock.Version > oldest:
			differ("%s took at %d, and the history does not tell", o.Owner(), o.Lock.Version)
		// Extensions that follow each other are one event, so there is no more to count.
		case o.Kind == Extend && o.Outcome == Extended && extended[o.Owner()] != o.Lock.Version && (told || o.Lock.Version > oldest):
			differ("%s was extended at %d, and the history does not tell", o.Owner(), o.Lock.Version)
		case o.Kind == Release && o.Outcome == Released && told && released[o.Owner()] != 1:
			differ("%s released, and the history tells it %d times", o.Owner(), released[o.Owner()])
		}
	}
	for owner := range begun {
		if !asked[owner] {
			differ("the history tells of %s, who asked for nothing", owner)
		}
	}
	return differences
}
