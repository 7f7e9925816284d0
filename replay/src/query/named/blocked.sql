SELECT decided_at, grant, session, tool, coalesce(effective_arguments, arguments) AS arguments,
       class, would_rule, would_message, after_divergence, outcome
FROM what_if(:policy, :from, :to)
WHERE class IN ('newly_denied', 'newly_held', 'maybe_denied') AND :within
ORDER BY decided_at, node, seq
LIMIT :limit
