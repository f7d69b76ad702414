  -- Ends the lock that the state has, at at; how is the kind of its end, digest its token's,
  -- and added what the event adds to its extras.
--include remember.lua
--include next_version.lua
  local event = how .. (at == now and now_text or format('%015d', at)) .. version .. number
  local ended_line = event .. (ends == NEVER and ZERO or ends)
  if added == '' then
    ended_line = ended_line .. of_lock
  elseif of_lock == NOTHING then
    ended_line = ended_line .. ZERO .. '{' .. sub(added, 2) .. '}'
  else
    ended_line = ended_line .. sub(of_lock, 1, -2) .. added .. '}'
  end
  older = older .. '\n' .. line .. '\n' .. ended_line
  line = event .. '000000000000000000000000000000{}'
  ends, mark, block, of_lock = FREE, '', '', NOTHING
  changed = true
