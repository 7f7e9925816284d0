WITH denied AS (
  SELECT node, seq, decided_at, grant, session, tool,
         json(coalesce(effective_arguments, arguments), :pointer) AS target,
         unnest([CAST(decided_at AS BIGINT) / :seconds000000,
                 CAST(decided_at AS BIGINT) / :seconds000000 + 1]) AS slot
  FROM calls
  WHERE verdict = 'deny' AND rule NOT LIKE '%/limits/%' AND :within),
allowed AS (
  SELECT node, seq, decided_at, grant, session, tool,
         json(coalesce(effective_arguments, arguments), :pointer) AS target,
         CAST(decided_at AS BIGINT) / :seconds000000 AS slot
  FROM calls
  WHERE verdict = 'allow' AND (risk IS DISTINCT FROM 'read') AND tool IS NOT NULL),
pairs AS (
  SELECT d.node AS on_node, d.seq AS denied_seq, min(d.target) AS target, min(a.seq) AS allowed_seq
  FROM denied AS d
  JOIN allowed AS a
    ON a.node = d.node AND a.grant = d.grant AND a.session = d.session AND a.target = d.target
   AND a.slot = d.slot
   AND a.seq > d.seq AND a.decided_at <= d.decided_at + INTERVAL ':seconds seconds'
   AND a.tool <> d.tool
  GROUP BY d.node, d.seq
  ORDER BY min(d.decided_at), d.node, d.seq
  LIMIT :limit)
SELECT d.decided_at AS denied_at, a.decided_at AS allowed_at, d.grant AS grant, d.session AS session, target,
       d.tool AS denied, d.rule AS rule, a.tool AS allowed, coalesce(a.effective_arguments, a.arguments) AS arguments,
       a.outcome AS outcome
FROM pairs
JOIN calls AS d ON d.node = on_node AND d.seq = denied_seq
JOIN calls AS a ON a.node = on_node AND a.seq = allowed_seq
ORDER BY denied_at, on_node, denied_seq
