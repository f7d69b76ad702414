-- Reads the spool. Decides FREE or HELD.

return reply(value and 'HELD' or 'FREE')
