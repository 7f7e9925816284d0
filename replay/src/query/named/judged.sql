SELECT decided_at, grant, tool, json(coalesce(effective_arguments, arguments), :pointer) AS target,
       verdict, rule, policy_digest
FROM calls
WHERE tool LIKE :tool AND grant LIKE :grant
  AND json(coalesce(effective_arguments, arguments), :pointer) LIKE :target
  AND CAST(decided_at AS BIGINT) >= :from AND CAST(decided_at AS BIGINT) < :to
ORDER BY decided_at, node, seq
LIMIT :limit
