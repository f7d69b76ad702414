  version = version < now_text and now_text or format('%015d', tonumber(version) + 1)
