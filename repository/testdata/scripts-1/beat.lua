#!lua flags=allow-oom
-- Publishes a beat on the channel ARGV[1]: a MESSAGE without a key, see spool.lua, whose LINE
-- has the kind B and, in its extras, the id ARGV[2], a JSON text.
--
-- Because of the header Redis refuses to run it where it would refuse a change: on a replica,
-- with too few replicas, or without a disk to write to. A full Redis runs it: releases work
-- there.

local clock = redis.call('TIME')
return redis.call('PUBLISH', ARGV[1], string.format('\nB%015d%054d{"id":%s}',
  clock[1] * 1000 + math.floor(clock[2] / 1000), 0, ARGV[2]))
