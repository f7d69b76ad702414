  -- Makes the line that the lock has from now on, of the kind kind. The one before becomes an
  -- older one, unless both are one event: extensions that follow each other, and an extension
  -- by which another program's was noticed, as it would have the same version and number.
  local last = sub(line, 1, 1)
  if mark ~= '' and not (last == kind and (kind == 'N' or kind == 'Z')) and not (last == 'Z' and kind == 'N' and changed) then
    older = older .. '\n' .. line
  end
  ends = format('%015d', expires)
  line = kind .. now_text .. version .. number .. (expires == -1 and ZERO or ends) .. of_lock
  changed = true
