SELECT decided_at, coalesce(tool, method) AS tool, coalesce(effective_arguments, arguments) AS arguments,
       verdict, rule, outcome
FROM calls
WHERE session LIKE :session AND grant LIKE :grant
  AND CAST(decided_at AS BIGINT) >= :from AND CAST(decided_at AS BIGINT) < :to
ORDER BY decided_at, node, seq
LIMIT :limit
