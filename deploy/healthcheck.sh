#!/bin/bash
# Whether the server of this container answers GET /healthz with 200: for HEALTHCHECK in the Dockerfile. By bash, which
# each Debian has, as opposed to curl. A second Node took 190 ms and 44 MB each time.
host=${HOST:-localhost}
host=${host#[}
exec 3<>"/dev/tcp/${host%]}/${PORT:-7777}" || exit 1
printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
# Docker gives up after 5 s.
read -r -t 4 _ status _ <&3
[ "$status" = 200 ]
