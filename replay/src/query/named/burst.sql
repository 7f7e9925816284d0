SELECT grant, tool, max(calls) AS calls, :seconds AS seconds,
       count(*) AS times, min(decided_at) AS first, max(decided_at) AS last
FROM (SELECT grant, tool, decided_at,
             count(*) OVER (PARTITION BY grant, tool ORDER BY CAST(decided_at AS BIGINT)
                            RANGE BETWEEN :seconds000000 PRECEDING AND CURRENT ROW) AS calls
      FROM calls
      WHERE tool LIKE :tool AND grant LIKE :grant
        AND CAST(decided_at AS BIGINT) >= :from AND CAST(decided_at AS BIGINT) < :to)
WHERE calls >= :least
GROUP BY grant, tool
ORDER BY calls DESC, grant, tool
LIMIT :limit
