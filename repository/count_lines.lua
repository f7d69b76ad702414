local n, at = 0, 0 -- lines of text
while at and at < #text do
  at = find(text, '\n', at + 1, true)
  n = at and n + 1 or n
end
