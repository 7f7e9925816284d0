//! TLS, HTTP, MCP, upstreams, grants: the life of a call
