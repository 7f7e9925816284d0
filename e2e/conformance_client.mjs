// Preloaded into the conformance suite, which has no way to add a header: every request of it carries $WEIR_TOKEN. Host headers that a
// scenario makes up do not change whom TLS is asked for.
import http from "node:http";
import https from "node:https";
import { createRequire } from "node:module";

const { Agent, buildConnector, setGlobalDispatcher } = createRequire(process.argv[1])("undici");
const token = `Bearer ${process.env.WEIR_TOKEN}`;

class Bearer extends Agent {
  dispatch(options, handler) {
    const { headers } = options;
    const with_token = Array.isArray(headers) ? [...headers, "authorization", token] : { ...headers, authorization: token };
    return super.dispatch({ ...options, headers: with_token }, handler);
  }
}

const connector = buildConnector({});
setGlobalDispatcher(new Bearer({ connect: (options, done) => connector({ ...options, servername: "localhost" }, done) }));

// Two scenarios that look at headers byte by byte speak plain HTTP to whatever the url says.
http.request = (options, done) =>
  https.request({ ...options, servername: "localhost", headers: { ...options.headers, authorization: token } }, done);
