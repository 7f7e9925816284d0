SELECT 6003 AS class_uid, 'API Activity' AS class_name, 6 AS category_uid, 'Application Activity' AS category_name,
       activity_id, activity_name, 600300 + activity_id AS type_uid,
       CAST(decided_at AS BIGINT) / 1000 AS time,
       severity_id, CASE severity_id WHEN 1 THEN 'Informational' WHEN 2 THEN 'Low' ELSE 'Medium' END AS severity,
       status_id, CASE status_id WHEN 1 THEN 'Success' WHEN 2 THEN 'Failure' ELSE 'Unknown' END AS status,
       CASE WHEN verdict = 'deny' THEN coalesce(reason, 'denied') ELSE outcome END AS status_detail,
       action_id, CASE action_id WHEN 1 THEN 'Allowed' ELSE 'Denied' END AS action,
       message, CAST(upstream_us / 1000 AS BIGINT) AS duration,
       named_struct(
         'user', named_struct('name', grant, 'uid', principal),
         'session', named_struct('uid', session),
         'app_name', client_name,
         'authorizations', make_array(named_struct(
           'decision', CAST(verdict AS VARCHAR),
           'policy', named_struct('uid', policy_digest, 'name', rule)))) AS actor,
       named_struct(
         'operation', coalesce(tool, method),
         'service', named_struct('name', server),
         'version', protocol,
         'request', named_struct('uid', request_id, 'data', coalesce(effective_arguments, arguments)),
         'response', named_struct('code', status_code, 'message', outcome)) AS api,
       named_struct('ip', client_address) AS src_endpoint,
       named_struct('name', server) AS dst_endpoint,
       named_struct(
         'uid', uuid(call_id),
         'version', '1.6.0',
         'sequence', seq,
         'correlation_uid', hex(trace_id),
         'product', named_struct('name', 'Weir', 'vendor_name', 'Weir'),
         'log_provider', node) AS metadata
FROM (SELECT *, status AS status_code,
             CASE risk WHEN 'read' THEN 2 WHEN 'write' THEN 3 WHEN 'destructive' THEN 4 ELSE 99 END AS activity_id,
             CASE risk WHEN 'read' THEN 'Read' WHEN 'write' THEN 'Update' WHEN 'destructive' THEN 'Delete'
                  ELSE coalesce(risk, method) END AS activity_name,
             CASE WHEN verdict = 'deny' THEN 3 WHEN risk = 'read' OR risk IS NULL THEN 1 ELSE 2 END AS severity_id,
             CASE WHEN verdict = 'deny' THEN 2 WHEN outcome = 'ok' THEN 1
                  WHEN outcome IS NULL OR outcome = 'unknown' THEN 0 ELSE 2 END AS status_id,
             CASE WHEN verdict = 'allow' THEN 1 ELSE 2 END AS action_id
      FROM calls)
