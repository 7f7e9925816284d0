SELECT decided_at, grant, session, tool, coalesce(effective_arguments, arguments) AS arguments,
       rule, message, class, would_reason, after_divergence
FROM what_if(:policy, :from, :to)
WHERE class IN ('newly_allowed', 'maybe_allowed') AND :within
ORDER BY decided_at, node, seq
LIMIT :limit
