package repository

import (
	"strconv"

	"spoollock/lock"
)

const lockPrefix = "spool_lock:"

// lockKey is where the lock of a spool is, for every program on this Redis.
func lockKey(tag lock.Tag) string { return lockPrefix + string(tag) }

// keys are the KEYS of the scripts, see look.lua: each has the first ones, as many as it needs.
// The lock's whole key is the hash tag of the others, so that all keys of a spool live in one
// cluster slot; a tag has no braces. The 2 is the version of what they hold.
func keys(tag lock.Tag) []string {
	key := lockKey(tag)
	of := "2:{" + key + "}"
	return []string{key, "spool_state" + of, "spool_history" + of, "spool_ended" + of, "spool_barred" + of}
}

// floorChannel is where the scripts publish what changes. Channels know nothing of
// databases, so it is named after the one that the locks are in.
func floorChannel(db int) string { return "spool_floor2:" + strconv.Itoa(db) }

// rateKey is the one place where the key of a bucket is made. It is of no spool.
func rateKey(bucket string) string { return "spool_rate:" + bucket }
