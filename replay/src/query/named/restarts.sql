SELECT decided_at AS stopped_at, started_at, server, target, grant AS stopped_by, tool AS stopped_with,
       started_by, started_with
FROM (SELECT node, seq, server, target, decided_at, grant, tool,
             lead(decided_at) OVER (PARTITION BY server, kind, target ORDER BY decided_at, node, seq) AS started_at,
             lead(grant) OVER (PARTITION BY server, kind, target ORDER BY decided_at, node, seq) AS started_by,
             lead(tool) OVER (PARTITION BY server, kind, target ORDER BY decided_at, node, seq) AS started_with
      FROM (SELECT node, seq, decided_at, server, grant, tool,
                   CASE WHEN tool LIKE '%stop' THEN left(tool, length(tool) - 4)
                        ELSE left(tool, length(tool) - 5) END AS kind,
                   json(coalesce(effective_arguments, arguments), :pointer) AS target
            FROM calls
            WHERE verdict = 'allow' AND (tool LIKE '%stop' OR tool LIKE '%start') AND tool NOT LIKE '%restart')
      WHERE target IS NOT NULL)
WHERE tool LIKE '%stop' AND started_with LIKE '%start'
  AND started_at <= decided_at + INTERVAL ':minutes minutes' AND :within
ORDER BY stopped_at, node, seq
LIMIT :limit
