// Package repository keeps the locks in Redis.
//
// [Redis] is a pool of connections and the [lock.Store] on top of it. Each
// operation is one Lua script: the script decides, changes and returns what it
// saw, so that nothing can happen in between. It takes one round trip, which
// operations that are under way at the same time share. The scripts
// stand next to the Go files. Each includes look.lua, which says which keys it
// touches and what it returns, and, unless nothing happened to the spool,
// spool.lua and answer.lua, which decode and save the state.
//
// The lock itself is a plain string under "spool_lock:<tag>", so that other
// programs can take and release spools with SET NX and compare-and-delete. What
// this package keeps with it, strings with the state of the spool, its history
// and the tokens that ended, is only ever a memory of what was last seen there:
// each script begins by comparing state and lock, and the lock's key is always
// right.
//
// # The stored format
//
// The head of spool.lua describes it to the byte; line.go decodes it. Its major
// version is in the names of the keys and the channel, see redis_keys.go: data
// of another one is ignored. Within it, fields are only added: of a lock or an
// event, as names in the extras of a line; of a spool, behind the lists at the
// end of the state; at most 256 bytes in all. Readers ignore what they do not
// know, and scripts carry it on, so that older and newer processes can work on
// one Redis: the extras of a lock until it ends, what is of a spool for as long
// as its state. What does not decode counts as lost; no script fails for it.
//
// Redis 7.0 or newer is required, for PEXPIRETIME.
package repository
