WITH destroyed AS (
  SELECT node, seq, decided_at, grant, session, tool, outcome,
         coalesce(effective_arguments, arguments) AS told,
         unnest([CAST(decided_at AS BIGINT) / :seconds000000,
                 CAST(decided_at AS BIGINT) / :seconds000000 - 1]) AS slot
  FROM calls
  WHERE verdict = 'allow' AND risk = 'destructive' AND :within),
looked AS (
  SELECT node, seq, decided_at, grant, session, tool, CAST(decided_at AS BIGINT) / :seconds000000 AS slot
  FROM calls
  WHERE verdict = 'allow' AND risk = 'read' AND method = 'tools/call')
SELECT d.decided_at AS decided_at, d.grant AS grant, d.session AS session, d.tool AS tool,
       d.told AS arguments, d.outcome AS outcome, count(*) AS reads, min(r.decided_at) AS since
FROM destroyed AS d
JOIN looked AS r
  ON r.node = d.node AND r.grant = d.grant AND r.session = d.session AND r.slot = d.slot
 AND r.seq < d.seq AND r.decided_at >= d.decided_at - INTERVAL ':seconds seconds'
GROUP BY d.node, d.seq, d.decided_at, d.grant, d.session, d.tool, d.told, d.outcome
HAVING count(*) >= :least
ORDER BY d.decided_at, d.node, d.seq
LIMIT :limit
