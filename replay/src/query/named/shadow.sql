SELECT candidate, class, tool, rule, grant, count(*) AS calls, min(decided_at) AS first, max(decided_at) AS last
FROM (SELECT said['policy_digest'] AS candidate, grant, tool, decided_at,
             CASE WHEN said['verdict'] = 'deny' THEN said['rule'] ELSE rule END AS rule,
             CASE WHEN split_part(said['rule'], '/', 4) = 'approve_if'
                  THEN CASE WHEN reason LIKE 'approv%' THEN 'same' ELSE 'newly_held' END
                  WHEN said['verdict'] = verdict THEN 'same'
                  WHEN said['verdict'] = 'deny' THEN 'newly_denied'
                  ELSE 'newly_allowed' END AS class
      FROM (SELECT grant, tool, decided_at, verdict, reason, rule, unnest(shadow) AS said
            FROM calls
            WHERE shadow IS NOT NULL AND :within))
WHERE class <> 'same'
GROUP BY candidate, class, tool, rule, grant
ORDER BY calls DESC, candidate, class, tool, rule, grant
LIMIT :limit
