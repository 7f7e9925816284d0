WITH told AS (
  SELECT node, seq, at, server, tool, digest,
         lag(digest) OVER (PARTITION BY server, tool ORDER BY at, node, seq) AS before
  FROM events
  WHERE kind = 'tool_definition' AND tool LIKE :tool),
changed AS (
  SELECT node, seq, at, server, tool, digest, before FROM told WHERE digest <> before),
first AS (
  SELECT changed.node AS node, changed.seq AS seq, min(calls.seq) AS call
  FROM changed
  JOIN calls ON calls.node = changed.node AND calls.server = changed.server AND calls.wire_tool = changed.tool
  WHERE calls.seq > changed.seq
  GROUP BY changed.node, changed.seq)
SELECT changed.at AS changed_at, changed.server AS server, changed.tool AS tool, changed.before AS before,
       changed.digest AS digest, calls.decided_at AS called_at, calls.grant AS grant,
       calls.arguments AS arguments, calls.verdict AS verdict, calls.outcome AS outcome
FROM changed
LEFT JOIN first ON first.node = changed.node AND first.seq = changed.seq
LEFT JOIN calls ON calls.node = first.node AND calls.seq = first.call
ORDER BY changed_at, server, tool
LIMIT :limit
