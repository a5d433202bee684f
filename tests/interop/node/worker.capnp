using Workerd = import "/workerd/workerd.capnp";

# worker.js under Cloudflare's runtime. The test gives the address:
# workerd serve worker.capnp --socket-addr=http=127.0.0.1:PORT --experimental
const config :Workerd.Config = (
  services = [ (name = "main", worker = .main) ],
  sockets = [ (name = "http", http = (), service = "main") ],
);

const main :Workerd.Worker = (
  modules = [
    (name = "worker", esModule = embed "worker.js"),
    (name = "@cloudflare/workers-oauth-provider",
     esModule = embed "node_modules/@cloudflare/workers-oauth-provider/dist/oauth-provider.js"),
  ],
  bindings = [ (name = "TOLD_LIFE", text = "8") ],
  compatibilityDate = "2026-11-01",
  compatibilityFlags = ["global_fetch_strictly_public"],
);
