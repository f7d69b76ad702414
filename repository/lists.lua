  -- The lists of the state. They count as lost if they are shorter than they say.
  local lists = sub(rest, before + 2)
  local of_service, of_client, by_force = match(lists, '^(%d%d%d)(%d%d%d)(%d)%d%d%d%d%d%d%d%d')
  if not by_force or #lists < 15 + (of_service + of_client) * 15 + by_force * 25 then
    lists = ZERO
  end
