SELECT decided_at, grant, tool, target, verdict, rule, policy_digest
FROM (SELECT node, seq, decided_at, grant, tool, verdict, rule, policy_digest,
             json(coalesce(effective_arguments, arguments), :pointer) AS target
      FROM calls
      WHERE tool IS NOT NULL AND grant IS NOT NULL AND :within)
WHERE target LIKE :target
ORDER BY decided_at, node, seq
LIMIT :limit
