"""Apache with mod_auth_openidc, its sessions in shared memory or in Redis.

https://github.com/OpenIDC/mod_auth_openidc/blob/master/auth_openidc.conf
"""

import getpass
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.peer_proxies import Missing
from tests.support.processes import free_port
from tests.support.production import children

PROGRAM = "apache2"
MODULES = Path("/usr/lib/apache2/modules")
NOBODY = "nobody"  # the user of the child processes, if the parent runs as root
NEEDED = (
    "mpm_event",
    "authn_core",
    "authz_core",
    "authz_user",
    "headers",
    "proxy",
    "proxy_http",
    "auth_openidc",
)
# Each call reads the session and sends the token; connections to the upstream are kept open.
CONFIGURATION = """\
ServerRoot {folder}
PidFile {folder}/apache.pid
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
ErrorLog {folder}/apache.log
{modules}
User {user}
MaxKeepAliveRequests 0
StartServers 8
MinSpareThreads 128
MaxSpareThreads 2048
ThreadLimit 128
ThreadsPerChild 128
ServerLimit 16
MaxRequestWorkers 2048
OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID bench
OIDCClientSecret bench-secret
OIDCScope openid
OIDCRedirectURI http://127.0.0.1:{port}/callback
OIDCCryptoPassphrase bench-only-0123456789abcdef
OIDCCookieSameSite On
OIDCPassClaimsAs none
{cache}
<Location />
  AuthType openid-connect
  Require valid-user
  RequestHeader set Authorization "Bearer %{{OIDC_access_token}}e"
  ProxyPass {upstream}/
</Location>
"""


@contextmanager
def running(
    issuer: str, upstream: str, redis: str | None, folder: Path
) -> Iterator[tuple[int, int]]:
    """Start it; yield its process id and its port. ``redis`` is a URL; None means shared memory.

    Raises Missing.
    """
    program = shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/sbin")
    if program is None or not (MODULES / "mod_auth_openidc.so").exists():
        raise Missing("Apache with mod_auth_openidc")
    folder.mkdir()
    port = free_port()
    cache = "OIDCCacheType shm"
    if redis is not None:
        server = redis.removeprefix("redis://")
        cache = f"OIDCCacheType redis\nOIDCRedisCacheServer {server}"
    loaded = (f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in NEEDED)
    configuration = folder / "apache.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder,
            port=port,
            user=getpass.getuser() if os.getuid() else NOBODY,
            issuer=issuer,
            upstream=upstream,
            cache=cache,
            modules="\n".join(loaded),
        ),
        encoding="utf-8",
    )
    command = [program, "-f", str(configuration), "-DFOREGROUND"]
    with children.server(command, port, log=folder / "out.log") as pid:
        yield pid, port
