SELECT decided_at AS first, grant, server, tool, calls, denied
FROM (SELECT grant, server, tool, min(decided_at) AS decided_at, count(*) AS calls,
             sum(CASE WHEN verdict = 'deny' THEN 1 ELSE 0 END) AS denied
      FROM calls
      WHERE grant IS NOT NULL AND tool IS NOT NULL AND :among
      GROUP BY grant, server, tool)
WHERE :within
ORDER BY first DESC, grant, server, tool
LIMIT :limit
