package repository

import (
	"context"
	"slices"
	"strings"

	"spoollock/lock"
)

var historyScript = spoolScript("history")

// History implements [lock.Store].
func (r *Redis) History(ctx context.Context, cmd lock.HistoryCommand) ([]lock.Event, error) {
	result := runRead(ctx, r, historyScript, clientRead, []lock.HistoryCommand{cmd}, historyArgs, historyAnswer)[0]
	return result.Value, result.Err
}

func historyArgs(cmd lock.HistoryCommand) (lock.Tag, []any) { return cmd.Tag, []any{cmd.Newest} }

// historyAnswer makes events of the lines that are events. What the scripts did not write
// is left out: no one acts upon it, and the rest is still worth telling.
func historyAnswer(_ lock.HistoryCommand, answer reply) ([]lock.Event, error) {
	if len(answer.more) != 2 {
		return nil, answer.unexpected()
	}
	history, _ := answer.more[0].(string)
	older, _ := answer.more[1].(string)
	lines := strings.Split(history+older+"\n"+answer.line, "\n")
	var found []lock.Event
	for _, text := range slices.Backward(lines) {
		l, ok := parseLine(text)
		if !ok {
			continue
		}
		if event, ok := l.event(); ok && len(found) < lock.MaxEvents {
			found = append(found, event)
		}
	}
	return found, nil
}
