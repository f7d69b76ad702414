package repository

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"spoollock/lock"
)

//go:embed *.lua
var sources embed.FS

// source is the text of a script, by the name of its file without the ending.
func source(name string) string {
	text, err := sources.ReadFile(name + ".lua")
	if err != nil {
		panic(err) // a file of the build that is not there
	}
	return string(text)
}

// script is a script on the keys of a spool.
type script struct {
	text, digest string
	keys         int // how many of them it has
}

// spoolScript makes a script of the file with that name. A line "--include NAME.lua" in a file
// stands for that file.
func spoolScript(name string) *script {
	text := spoolText(name)
	s := &script{text: text, digest: redis.NewScript(text).Hash()}
	for strings.Contains(text, fmt.Sprintf("KEYS[%d]", s.keys+1)) {
		s.keys++
	}
	return s
}

func spoolText(name string) string {
	return strings.NewReplacer(
		"$LATEST", strconv.Itoa(latest),
		"$LAST_VERSION", versionText(latest-10), // one run raises it a few times
		"$MARGIN", strconv.FormatInt(memoryMargin.Milliseconds(), 10),
	).Replace(expand(name))
}

// loadScripts has a Redis know the scripts of the operations, the beat, the scan and the
// checks. A user who may not load them sends the source with what first needs it.
func loadScripts(ctx context.Context, node *redis.Client) error {
	pipe := node.Pipeline()
	for _, s := range []*script{
		takeScript, releaseScript, extendScript, resumeScript, forceScript, checkScript, readScript, historyScript,
	} {
		pipe.ScriptLoad(ctx, s.text)
	}
	// Not by redis.Script's Load, which in a pipeline makes the script forget its digest.
	for _, text := range []string{source("beat"), spoolText("scan"), source("accept"), source("probe")} {
		pipe.ScriptLoad(ctx, text)
	}
	if _, err := pipe.Exec(ctx); err != nil && !isAnswer(err) {
		return fmt.Errorf("load the scripts: %w", withoutSecrets(err))
	}
	return nil
}

var include = regexp.MustCompile(`(?m)^--include (\w+)\.lua\n`)

func expand(name string) string {
	return include.ReplaceAllStringFunc(source(name), func(line string) string {
		return expand(include.FindStringSubmatch(line)[1])
	})
}

// run executes one script for each command, all in one round trip, in a Cluster in
// one to each master that has any of the keys. On a Redis that does not have the
// script, because it was restarted or became a master since [Redis.Watch] last looked, that
// costs a second one, which sends the source. What the script did is to be on so many
// replicas as well.
func run[C, T any](ctx context.Context, r *Redis, script *script, replicas int, cmds []C,
	arguments func(C) (lock.Tag, []any), answer func(C, reply) (T, error),
) []lock.Result[T] {
	return runJob(ctx, r, job{kind: change, script: script, replicas: replicas}, cmds, arguments, answer)
}

// runRead is [run] for a script that changes nothing for its caller.
func runRead[C, T any](ctx context.Context, r *Redis, script *script, kind kind, cmds []C,
	arguments func(C) (lock.Tag, []any), answer func(C, reply) (T, error),
) []lock.Result[T] {
	return runJob(ctx, r, job{kind: kind, script: script}, cmds, arguments, answer)
}

func runJob[C, T any](ctx context.Context, r *Redis, job job, cmds []C,
	arguments func(C) (lock.Tag, []any), answer func(C, reply) (T, error),
) []lock.Result[T] {
	calls := make([]*call, len(cmds))
	for i, cmd := range cmds {
		tag, args := arguments(cmd)
		calls[i] = &call{tag: tag, args: append([]any{r.settings()}, args...)}
	}
	r.runScript(ctx, calls, job)
	results := make([]lock.Result[T], len(cmds))
	for i, cmd := range cmds {
		reply, err := calls[i].reply()
		if errors.Is(err, errReply) {
			reply, err = r.runDespite(ctx, calls[i], job)
		}
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			err = r.wrongTypes.found(r.log, calls[i].tag, time.Now())
		}
		if err != nil {
			results[i].Err = err
			continue
		}
		r.onSpool(reply.spool)
		results[i].Value, results[i].Err = answer(cmd, reply)
		if err := calls[i].unconfirmed; results[i].Err == nil && err != nil {
			results[i].Err = &lock.UnavailableError{
				Outcome: lock.OutcomeUnknown, Err: fmt.Errorf("spool %s: %w", calls[i].tag, err),
			}
		}
	}
	return results
}

// memoryMargin is added to the time that a spool is remembered, because the scripts set it
// anew only once in so long, see answer.lua.
const memoryMargin = 10000 * time.Second

// settings are ARGV[1] of every script, see look.lua.
func (r *Redis) settings() string {
	return strconv.FormatInt((r.memory+memoryMargin).Milliseconds(), 10) + " " + r.channel
}

// runDespite runs the script of a call again, to which the damaged state of its spool then
// counts as lost: an unchanged state is returned as it is.
func (r *Redis) runDespite(ctx context.Context, c *call, job job) (reply, error) {
	c.args[0] = "-" + r.settings()
	r.runScript(ctx, []*call{c}, job)
	return c.reply()
}

// reply is what the script returned. It counts even with an error: to go-redis, a connection
// that broke after this answer is an error of all, and the answer in which it broke is empty.
func (c *call) reply() (reply, error) {
	decoded, err := decode(c.tag, c.answer.Val())
	if failed := c.answer.Err(); err != nil && failed != nil {
		return reply{}, classify(c.tag, failed, c.sent)
	}
	return decoded, err
}

// runOne is [run] for one command.
func runOne[C, T any](ctx context.Context, r *Redis, script *script, replicas int, cmd C,
	arguments func(C) (lock.Tag, []any), answer func(C, reply) (T, error),
) (T, error) {
	result := run(ctx, r, script, replicas, []C{cmd}, arguments, answer)[0]
	return result.Value, result.Err
}

// flag is how the scripts are told yes or no.
func flag(yes bool) string {
	if yes {
		return "1"
	}
	return "0"
}
