#!lua flags=allow-oom
-- Is run if Redis would run a release: the header has Redis refuse it where it would refuse
-- a change, as it does with beat.lua.
--
-- KEYS  those of a spool, which the user must be allowed to change, or none

return redis.status_reply('OK')
