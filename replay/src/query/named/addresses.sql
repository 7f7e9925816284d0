SELECT grant, client_address AS address, calls, denied, sessions, first, last, addresses
FROM (SELECT grant, client_address, calls, denied, sessions, first, last,
             count(*) OVER (PARTITION BY grant) AS addresses
      FROM (SELECT grant, client_address, count(*) AS calls, count(DISTINCT session) AS sessions,
                   sum(CASE WHEN verdict = 'deny' THEN 1 ELSE 0 END) AS denied,
                   min(decided_at) AS first, max(decided_at) AS last
            FROM calls
            WHERE grant IS NOT NULL AND client_address IS NOT NULL AND :within
            GROUP BY grant, client_address))
WHERE addresses >= :least
ORDER BY addresses DESC, grant, calls DESC, address
LIMIT :limit
