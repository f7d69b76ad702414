  -- Ends the lock that the state has, at at; how is the kind of its end, digest its token's,
  -- and added what the event adds to its extras.
  local older = sub(rest, 1, before)
--include lists.lua
--include remember.lua
  version = version < now and now or version + 1
  local event = how .. (at == now and now_text or format('%015d', at)) .. (version == now and now_text or format('%015d', version)) .. number
  if added ~= '' then
    of_lock = of_lock == NOTHING and ZERO .. '{' .. sub(added, 2) .. '}' or sub(of_lock, 1, -2) .. added .. '}'
  end
  local ended_line = event .. (ends == NEVER and ZERO or ends) .. of_lock
  rest = ended_line .. '\n' .. line .. '\n' .. older .. '\n' .. lists
  before = before + #ended_line + #line + 2
  line = event .. '000000000000000000000000000000{}'
  ends, mark, block, of_lock = FREE, '', '', NOTHING
  changed = true
