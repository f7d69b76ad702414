-- Decides HOLDS or HOLDS_NOT, of the token ARGV[3].

return reply(value == ARGV[3] and 'HOLDS' or 'HOLDS_NOT')
