SELECT grant, count(*) AS calls, sum(denied) AS denied, 100 * sum(denied) / count(*) AS denied_percent,
       count(DISTINCT session) AS sessions, count(DISTINCT tool) AS tools,
       min(decided_at) AS first, max(decided_at) AS last
FROM (SELECT grant, session, tool, decided_at, CASE WHEN verdict = 'deny' THEN 1 ELSE 0 END AS denied
      FROM calls
      WHERE :within)
GROUP BY grant
ORDER BY calls DESC, grant
LIMIT :limit
