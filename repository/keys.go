package repository

import "spoollock/lock"

// lockKey is where the lock of a spool is, for every program on this Redis.
func lockKey(tag lock.Tag) string { return "spool_lock:" + string(tag) }

// companionKey is where the memory of a spool is. The lock's whole key is its
// hash tag, so both live in one cluster slot; a tag has no braces.
func companionKey(tag lock.Tag) string { return "spool_meta:{" + lockKey(tag) + "}" }
