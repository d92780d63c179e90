#!/bin/sh
# Creates the secrets that docker-compose.yml mounts, in the folder secrets/. Keeps those that exist, so that your
# application's own secret of tokens may stand in secrets/jwt_master_secret.
set -eu
cd "$(dirname "$0")/.."
# The folder keeps other users of the machine out. The files have to be readable, as each container has its own user.
mkdir -p secrets
chmod 700 secrets

# 256 random bits, in hexadecimal: a URL can hold them as they are.
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
create() {
  [ -s "secrets/$1" ] || printf '%s\n' "$2" >"secrets/$1"
  chmod 444 "secrets/$1"
}

create jwt_master_secret "$(random)"
create db_password "$(random)"
create redis_password "$(random)"
create redis_url "redis://:$(cat secrets/redis_password)@pubsub:6379"
