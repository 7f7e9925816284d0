SELECT decided_at, grant, session, tool, risk, coalesce(effective_arguments, arguments) AS arguments, outcome
FROM calls
WHERE verdict = 'allow' AND method = 'tools/call' AND (risk IS DISTINCT FROM 'read')
  AND (date_part('hour', decided_at) < :opens OR date_part('hour', decided_at) >= :closes
       OR date_part('dow', decided_at) IN (0, 6))
  AND :within
ORDER BY decided_at, node, seq
LIMIT :limit
