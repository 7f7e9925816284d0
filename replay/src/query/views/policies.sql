WITH starts AS (
  SELECT node, server, grant, digest, at, seq,
         lag(digest) OVER (PARTITION BY node, server, grant ORDER BY seq) AS before
  FROM events
  WHERE kind = 'policy' AND digest IS NOT NULL),
spans AS (
  SELECT node, server, grant, digest, at AS since, seq AS first_seq,
         lead(at) OVER (PARTITION BY node, server, grant ORDER BY seq) AS until,
         lead(seq) OVER (PARTITION BY node, server, grant ORDER BY seq) AS next_seq
  FROM starts
  WHERE digest IS DISTINCT FROM before),
judged AS (
  SELECT node, server, grant, policy_digest, first_seq, count(*) AS calls,
         sum(denied) AS denied
  FROM (SELECT calls.node AS node, calls.server AS server, calls.grant AS grant, calls.policy_digest AS policy_digest,
               spans.first_seq AS first_seq, CASE WHEN calls.verdict = 'deny' THEN 1 ELSE 0 END AS denied
        FROM calls
        JOIN spans ON spans.node = calls.node AND spans.server = calls.server AND spans.grant = calls.grant
                  AND spans.digest = calls.policy_digest
        WHERE calls.seq >= spans.first_seq AND (spans.next_seq IS NULL OR calls.seq < spans.next_seq))
  GROUP BY node, server, grant, policy_digest, first_seq)
SELECT spans.server AS server, spans.grant AS grant, spans.digest AS policy, spans.since AS since,
       spans.until AS until, coalesce(judged.calls, 0) AS calls, coalesce(judged.denied, 0) AS denied,
       spans.node AS node
FROM spans
LEFT JOIN judged ON judged.node = spans.node AND judged.server = spans.server AND judged.grant = spans.grant
                AND judged.first_seq = spans.first_seq
