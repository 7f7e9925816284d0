SELECT server, grant, session, min(decided_at) AS first, max(decided_at) AS last, count(*) AS calls,
       sum(CASE WHEN verdict = 'deny' THEN 1 ELSE 0 END) AS denied, count(DISTINCT tool) AS tools,
       count(DISTINCT client_address) AS addresses, max(client_address) AS client_address,
       max(client_name) AS client_name, max(client_version) AS client_version, max(protocol) AS protocol
FROM calls
WHERE session IS NOT NULL
GROUP BY server, grant, session
