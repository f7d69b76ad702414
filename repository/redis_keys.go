package repository

import (
	"strconv"

	"spoollock/lock"
)

const lockPrefix = "spool_lock:"

// lockKey is where the lock of a spool is, for every program on this Redis.
func lockKey(tag lock.Tag) string { return lockPrefix + string(tag) }

// companionKey is where the memory of a spool is. The lock's whole key is its
// hash tag, so that all keys of a spool live in one cluster slot; a tag has no
// braces.
func companionKey(tag lock.Tag) string { return "spool_meta:{" + lockKey(tag) + "}" }

// historyKey is where the events of a spool are.
func historyKey(tag lock.Tag) string { return "spool_history:{" + lockKey(tag) + "}" }

// keys are the KEYS of every script.
func keys(tag lock.Tag) []string {
	return []string{lockKey(tag), companionKey(tag), historyKey(tag)}
}

// floorChannel is where the scripts publish what changes. Channels know nothing of
// databases, so it is named after the one that the locks are in.
func floorChannel(db int) string { return "spool_floor:" + strconv.Itoa(db) }

// rateKey is the one place where the key of a bucket is made. It is of no spool.
func rateKey(bucket string) string { return "spool_rate:" + bucket }
