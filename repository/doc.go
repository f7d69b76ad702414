// Package repository keeps the locks in Redis.
//
// [Redis] is a pool of connections and the [lock.Store] on top of it. Each
// operation is one Lua script and one round trip: the script decides, changes
// and returns what it saw, so that nothing can happen in between. The scripts
// stand next to the Go files; prologue.lua, which runs at the head of each, says
// which keys they touch and what they return.
//
// The lock itself is a plain string under "spool_lock:<tag>", so that other
// programs can take and release spools with SET NX and compare-and-delete. What
// this package keeps with it, in one hash per spool, is only ever a memory of
// what was last seen there: each script begins by comparing the two, and the
// lock's key is always right.
//
// Redis 7.0 or newer is required, for PEXPIRETIME.
package repository
