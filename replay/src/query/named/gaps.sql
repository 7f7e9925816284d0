WITH places AS (
  SELECT node, seq AS place FROM calls
  UNION ALL SELECT node, finish_seq FROM calls WHERE finish_seq IS NOT NULL
  UNION ALL SELECT node, approval.answer_seq FROM calls WHERE approval.answer_seq IS NOT NULL AND (approval.answer_seq IS DISTINCT FROM finish_seq)
  UNION ALL SELECT node, seq FROM events),
slots AS (
  SELECT node, place / 4096 AS slot, count(*) AS taken, min(place) AS least, max(place) AS greatest
  FROM places
  GROUP BY node, place / 4096),
between_slots AS (
  SELECT node, lag(greatest, 1, -1) OVER (PARTITION BY node ORDER BY slot) AS before, least AS after
  FROM slots),
torn AS (
  SELECT node, slot FROM slots WHERE taken < greatest - least + 1),
within_slots AS (
  SELECT places.node AS node, lag(place) OVER (PARTITION BY places.node, torn.slot ORDER BY place) AS before,
         place AS after
  FROM torn
  JOIN places ON places.node = torn.node AND places.place / 4096 = torn.slot),
gaps AS (
  SELECT node, before + 1 AS first, after - 1 AS last FROM between_slots WHERE after > before + 1
  UNION ALL SELECT node, before + 1, after - 1 FROM within_slots WHERE after > before + 1),
removed AS (
  SELECT node, text, CAST(json(detail, '/first') AS BIGINT) AS first, CAST(json(detail, '/last') AS BIGINT) AS last
  FROM events
  WHERE kind = 'retention')
SELECT gaps.node AS node, gaps.first AS first, gaps.last AS last, gaps.last - gaps.first + 1 AS places,
       max(removed.text) AS told
FROM gaps
LEFT JOIN removed ON removed.node = gaps.node AND gaps.first >= removed.first AND gaps.last <= removed.last
GROUP BY gaps.node, gaps.first, gaps.last
ORDER BY node, first
LIMIT :limit
