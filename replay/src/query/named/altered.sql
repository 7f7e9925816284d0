WITH denied AS (
  SELECT node, seq, decided_at, grant, session, tool, arguments_digest,
         unnest([CAST(decided_at AS BIGINT) / :seconds000000,
                 CAST(decided_at AS BIGINT) / :seconds000000 + 1]) AS slot
  FROM calls
  WHERE verdict = 'deny' AND rule NOT LIKE '%/limits/%' AND arguments_digest IS NOT NULL AND :within),
allowed AS (
  SELECT node, seq, decided_at, grant, session, tool, arguments_digest,
         CAST(decided_at AS BIGINT) / :seconds000000 AS slot
  FROM calls
  WHERE verdict = 'allow' AND arguments_digest IS NOT NULL AND :within),
pairs AS (
  SELECT d.node AS on_node, d.seq AS denied_seq, min(a.seq) AS allowed_seq
  FROM denied AS d
  JOIN allowed AS a
    ON a.node = d.node AND a.grant = d.grant AND a.session = d.session AND a.tool = d.tool
   AND a.slot = d.slot
   AND a.seq > d.seq AND a.decided_at <= d.decided_at + INTERVAL ':seconds seconds'
   AND a.arguments_digest <> d.arguments_digest
  GROUP BY d.node, d.seq
  ORDER BY min(d.decided_at), d.node, d.seq
  LIMIT :limit)
SELECT d.decided_at AS denied_at, a.decided_at AS allowed_at, d.grant AS grant, d.session AS session, d.tool AS tool,
       d.rule AS rule, d.arguments AS denied, a.arguments AS allowed, a.outcome AS outcome
FROM pairs
JOIN calls AS d ON d.node = on_node AND d.seq = denied_seq
JOIN calls AS a ON a.node = on_node AND a.seq = allowed_seq
ORDER BY denied_at, on_node, denied_seq
