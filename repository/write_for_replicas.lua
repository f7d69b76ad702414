  -- What replicas are to confirm has to be a write of the connection that asks them, also
  -- where an earlier one made the change.
  if not changed then
    call('SET', KEYS[2], state, 'KEEPTTL')
  end
