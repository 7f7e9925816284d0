SELECT grant, tool, count(*) AS stops, sum(forced) AS forced,
       100 * sum(forced) / count(*) AS forced_percent,
       sum(forced * denied) AS forced_denied, sum(denied) AS denied
FROM (SELECT grant, tool,
             CASE WHEN json(coalesce(effective_arguments, arguments), :pointer) = 'true'
                  THEN 1 ELSE 0 END AS forced,
             CASE WHEN verdict = 'deny' THEN 1 ELSE 0 END AS denied
      FROM calls
      WHERE tool IS NOT NULL AND grant IS NOT NULL AND :within)
GROUP BY grant, tool
ORDER BY stops DESC, grant, tool
LIMIT :limit
