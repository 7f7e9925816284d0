// Preloaded into the conformance suite, which has no way to add a header: every request of it carries $WEIR_TOKEN. Host headers that a
// scenario makes up do not change whom TLS is asked for.
import { createRequire } from "node:module";

const { Agent, setGlobalDispatcher } = createRequire(process.argv[1])("undici");
const token = `Bearer ${process.env.WEIR_TOKEN}`;

class Bearer extends Agent {
  dispatch(options, handler) {
    const { headers } = options;
    const with_token = Array.isArray(headers) ? [...headers, "authorization", token] : { ...headers, authorization: token };
    return super.dispatch({ ...options, headers: with_token }, handler);
  }
}

setGlobalDispatcher(new Bearer({ connect: { servername: "localhost" } }));
