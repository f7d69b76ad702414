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
	asked, seen := map[string]bool{}, map[int64]bool{}
	tokens := map[string]map[string]bool{} // that each worker asked to resume by
	for _, o := range operations {
		asked[o.Owner()] = true
		switch o.Kind {
		case Resume:
			if tokens[o.Owner()] == nil {
				tokens[o.Owner()] = map[string]bool{}
			}
			tokens[o.Owner()][o.Token] = true
		case ForceRelease:
			seen[*o.Expected] = true
		}
	}
	// What the events tell, each by the version of the spool after it, at which there is
	// no other of its type. Takes and releases by their workers, besides.
	extended, resumed, forced := map[int64]string{}, map[int64]string{}, map[int64]string{}
	begun, released, resumes := map[string]int64{}, map[string]int{}, map[string]int{}
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
			holder, extended[event.Version] = event.OwnerID, event.OwnerID
		case "RESUMED":
			if !first && holder != event.OwnerID || event.Version <= version {
				differ("%+v comes after version %d, while %q holds", event, version, holder)
			}
			holder, resumed[event.Version] = event.OwnerID, event.OwnerID
			resumes[event.OwnerID]++
		case causeReleased, causeExpired, causeForced, causeForeign:
			if !first && holder != event.OwnerID || event.Version <= version {
				differ("%+v comes after version %d, while %q holds", event, version, holder)
			}
			holder = ""
			switch event.Type {
			case causeReleased:
				released[event.OwnerID]++
			case causeForced:
				if !first && !seen[version] {
					differ("%+v ends a lock of version %d, which nobody had seen who forced", event, version)
				}
				forced[event.Version] = event.OwnerID
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
	for _, o := range operations {
		version, told := begun[o.Owner()]
		switch {
		case o.InDoubt:
		case o.Kind == Take && o.Outcome == Taken && told && version != o.Lock.Version:
			differ("%s took at %d, and the history says %d", o.Owner(), o.Lock.Version, version)
		case o.Kind == Take && o.Outcome == Taken && !told && o.Lock.Version > oldest:
			differ("%s took at %d, and the history does not tell", o.Owner(), o.Lock.Version)
		// Extensions that follow each other are one event, so there is no more to count.
		case o.Outcome == Extended && extended[o.Lock.Version] != o.Owner() && (told || o.Lock.Version > oldest):
			differ("%s was extended at %d, and the history does not tell", o.Owner(), o.Lock.Version)
		case o.Outcome == Resumed && resumed[o.Lock.Version] != o.Owner() && (told || o.Lock.Version > oldest):
			differ("%s resumed at %d, and the history does not tell", o.Owner(), o.Lock.Version)
		case o.Kind == ForceRelease && o.Outcome == ForceReleased && forced[o.Version] != o.Lock.OwnerID && o.Version > oldest:
			differ("the lock of %s was ended by force at %d, and the history does not tell", o.Lock.OwnerID, o.Version)
		case o.Kind == Release && o.Outcome == Released && told && released[o.Owner()] != 1:
			differ("%s released, and the history tells it %d times", o.Owner(), released[o.Owner()])
		}
	}
	for owner := range begun {
		if !asked[owner] {
			differ("the history tells of %s, who asked for nothing", owner)
		}
	}
	for owner, times := range resumes {
		if times > len(tokens[owner]) {
			differ("the history tells %d times that %s resumed, who asked for %d tokens", times, owner, len(tokens[owner]))
		}
	}
	return differences
}
