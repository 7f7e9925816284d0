// A real authorisation server: npm `oidc-provider`, certified by the OpenID Foundation, with signed access tokens for the resource
// that is asked for (RFC 8707, RFC 9068). What it signs with can be changed while it runs: POST /_keys makes new keys, and
// POST /_set?life=SECONDS&algorithm=NAME says how tokens are made from then on.
// usage: node issuer.mjs PORT    ($WEIR_NODE_MODULES has the package)
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.WEIR_NODE_MODULES + "/");
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
let life = 600;
let algorithm = "RS256";

function key(kind) {
  const pair = kind === "RS256" ? generateKeyPairSync("rsa", { modulusLength: 2048 }) : generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...pair.privateKey.export({ format: "jwk" }), kid: randomBytes(8).toString("hex"), use: "sig", alg: kind };
}

function provider() {
  return new Provider(issuer, {
    clients: ["agent", "other"].map((client_id) => ({
      client_id,
      client_secret: `${client_id}-secret`,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    })),
    jwks: { keys: [key("RS256"), key("ES256")] },
    scopes: ["weir:ops", "weir:read", "weir:none"],
    ttl: { ClientCredentials: () => life },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: "weir:ops weir:read weir:none",
          audience: resource,
          accessTokenTTL: life,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: algorithm } },
        }),
      },
    },
  });
}

let current = provider().callback();
createServer((request, response) => {
  const url = new URL(request.url, issuer);
  if (request.method === "POST" && url.pathname === "/_keys") {
    current = provider().callback();
    return response.end("new keys\n");
  }
  if (request.method === "POST" && url.pathname === "/_set") {
    life = Number(url.searchParams.get("life") ?? life);
    algorithm = url.searchParams.get("algorithm") ?? algorithm;
    return response.end("set\n");
  }
  current(request, response);
}).listen(port, "127.0.0.1", () => console.log(`issuer at ${issuer}`));
