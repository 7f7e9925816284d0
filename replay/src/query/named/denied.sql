SELECT rule, grant, tool, count(*) AS calls, min(decided_at) AS first, max(decided_at) AS last,
       max(message) AS message
FROM calls
WHERE verdict = 'deny' AND :within
GROUP BY rule, grant, tool
ORDER BY calls DESC, rule, grant, tool
LIMIT :limit
