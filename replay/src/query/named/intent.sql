SELECT decided_at, grant, session, tool, arguments, outcome, call_id
FROM calls
WHERE verdict = 'allow' AND (finished_at IS NULL OR outcome IS NULL OR outcome = 'unknown') AND :within
ORDER BY decided_at, node, seq
LIMIT :limit
