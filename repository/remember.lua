  -- Remembers that the token of the lock, whose digest is digest, ended at at: how is the kind
  -- of its end.
  local floor = math.floor
  local s = floor(at / 1000)
  local entry = digest .. string.char(floor(s / 16777216) % 256, floor(s / 65536) % 256, floor(s / 256) % 256, s % 256) .. how
  local has = tonumber(sub(lists, 1, 3))
  if byte(block) ~= 99 then
    lists = format('%03d', has < 64 and has + 1 or 64) .. sub(lists, 4, 15) .. entry
      .. (has < 64 and sub(lists, 16) or sub(lists, 16, 15 + 63 * 15) .. sub(lists, 16 + has * 15))
  else
    local from, most = 15 + has * 15, 256
    has = tonumber(sub(lists, 4, 6))
    lists = sub(lists, 1, 3) .. format('%03d', has < most and has + 1 or most) .. sub(lists, 7, from) .. entry
      .. (has < most and sub(lists, from + 1) or sub(lists, from + 1, from + 255 * 15) .. sub(lists, from + 1 + has * 15))
  end
