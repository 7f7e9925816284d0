SELECT date_trunc('hour', min(at)) AS hour, grant, server, count(*) AS targets, sum(calls) AS calls
FROM (SELECT slot, grant, server, target, min(decided_at) AS at, count(*) AS calls
      FROM (SELECT CAST(decided_at AS BIGINT) / 3600000000 AS slot, decided_at, grant, server,
                   json(coalesce(effective_arguments, arguments), :pointer) AS target
            FROM calls
            WHERE verdict = 'allow' AND grant IS NOT NULL AND :within)
      WHERE target IS NOT NULL
      GROUP BY slot, grant, server, target)
GROUP BY slot, grant, server
ORDER BY targets DESC, hour, grant, server
LIMIT :limit
