package repository

import (
	"context"

	"spoollock/lock"
)

var checkScript = spoolScript("check")

// Check implements [lock.Store].
func (r *Redis) Check(ctx context.Context, cmd lock.CheckCommand) (lock.Checked, error) {
	result := runRead(ctx, r, checkScript, clientRead, []lock.CheckCommand{cmd}, checkArgs, checkAnswer)[0]
	return result.Value, result.Err
}

func checkArgs(cmd lock.CheckCommand) (lock.Tag, []any) { return cmd.Tag, []any{cmd.Token.Reveal()} }

func checkAnswer(_ lock.CheckCommand, answer reply) (lock.Checked, error) {
	valid := answer.decision == "HOLDS"
	if !valid && answer.decision != "HOLDS_NOT" || valid && answer.spool.Lock == nil {
		return lock.Checked{}, answer.unexpected()
	}
	return lock.Checked{Valid: valid, Spool: answer.spool}, nil
}
