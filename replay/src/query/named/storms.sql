SELECT grant, pace.calls AS denials, :seconds AS seconds, pace.times AS times,
       pace.first AS first, pace.last AS last
FROM (SELECT grant, bursts(decided_at, :seconds, :least) AS pace
      FROM calls
      WHERE verdict = 'deny' AND grant IS NOT NULL AND :within
      GROUP BY grant)
WHERE pace IS NOT NULL
ORDER BY denials DESC, grant
LIMIT :limit
