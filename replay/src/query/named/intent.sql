SELECT decided_at, grant, session, tool, arguments, outcome, call_id
FROM calls
WHERE verdict = 'allow' AND (finished_at IS NULL OR outcome IS NULL OR outcome = 'unknown')
  AND coalesce(tool, '') LIKE :tool AND coalesce(grant, '') LIKE :grant
  AND CAST(decided_at AS BIGINT) >= :from AND CAST(decided_at AS BIGINT) < :to
ORDER BY decided_at, node, seq
LIMIT :limit
