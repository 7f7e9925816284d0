SELECT decided_at, coalesce(tool, method) AS tool, coalesce(effective_arguments, arguments) AS arguments,
       verdict, rule, outcome
FROM calls
WHERE session LIKE :session AND :within
ORDER BY decided_at, node, seq
LIMIT :limit
