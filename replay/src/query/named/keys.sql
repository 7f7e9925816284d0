WITH shapes AS (
  SELECT grant, tool, json_shape(coalesce(effective_arguments, arguments)) AS shape,
         min(decided_at) AS first, count(*) AS calls
  FROM calls
  WHERE tool IS NOT NULL AND :among
  GROUP BY grant, tool, json_shape(coalesce(effective_arguments, arguments))),
keys AS (
  SELECT tool, key, min(first) AS first, first_value(grant ORDER BY first) AS grant, sum(calls) AS calls
  FROM (SELECT grant, tool, first, calls, unnest(json_keys(shape)) AS key FROM shapes)
  GROUP BY tool, key),
tools AS (
  SELECT tool, min(first) AS known FROM shapes GROUP BY tool),
week AS (
  SELECT max(decided_at) - INTERVAL ':days days' AS begins FROM calls)
SELECT keys.first AS first, keys.tool AS tool, keys.key AS key, keys.grant AS grant, keys.calls AS calls
FROM keys
JOIN tools ON tools.tool = keys.tool
CROSS JOIN week
WHERE keys.first >= week.begins AND tools.known < week.begins
ORDER BY first, tool, key
LIMIT :limit
