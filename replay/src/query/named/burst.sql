SELECT grant, tool, pace.calls AS calls, :seconds AS seconds, pace.times AS times,
       pace.first AS first, pace.last AS last
FROM (SELECT grant, tool, bursts(decided_at, :seconds, :least) AS pace
      FROM calls
      WHERE grant IS NOT NULL AND tool IS NOT NULL AND :within
      GROUP BY grant, tool)
WHERE pace IS NOT NULL
ORDER BY calls DESC, grant, tool
LIMIT :limit
