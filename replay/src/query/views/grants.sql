WITH used AS (
  SELECT server, grant, min(decided_at) AS first, max(decided_at) AS last, count(*) AS calls,
         sum(CASE WHEN verdict = 'deny' THEN 1 ELSE 0 END) AS denied, count(DISTINCT session) AS sessions,
         count(DISTINCT tool) AS tools
  FROM calls
  WHERE grant IS NOT NULL
  GROUP BY server, grant),
loaded AS (
  SELECT server, grant, policy, loaded_at
  FROM (SELECT server, grant, digest AS policy, at AS loaded_at,
               row_number() OVER (PARTITION BY server, grant ORDER BY at DESC, seq DESC) AS turn
        FROM events
        WHERE kind = 'grant' AND grant IS NOT NULL)
  WHERE turn = 1)
SELECT coalesce(used.server, loaded.server) AS server, coalesce(used.grant, loaded.grant) AS grant,
       used.first AS first, used.last AS last, coalesce(used.calls, 0) AS calls, coalesce(used.denied, 0) AS denied,
       coalesce(used.sessions, 0) AS sessions, coalesce(used.tools, 0) AS tools,
       loaded.policy AS policy, loaded.loaded_at AS loaded_at
FROM used
FULL JOIN loaded ON loaded.server = used.server AND loaded.grant = used.grant
