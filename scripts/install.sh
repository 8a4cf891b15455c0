#!/usr/bin/env bash
# Installs the programs that the tests run and the machine lacks. Says nothing
# and changes nothing when all are there. Debian and Ubuntu; elsewhere it names
# what is missing.
set -euo pipefail
# Where servers are, and not everybody looks.
PATH=$PATH:/usr/sbin:$(echo /usr/lib/postgresql/*/bin | tr ' ' :)

# program:package
needed=(
	jq:jq zstd:zstd curl:curl
	node:nodejs npm:npm
	prometheus:prometheus promtool:prometheus postfix:postfix
	postgres:postgresql pg_dump:postgresql-client
	systemd-analyze:systemd
	ip:iproute2 mount:mount losetup:mount mkfs.ext4:e2fsprogs unshare:util-linux
)

# Python module:package, of the system's own Python
modules=(
	fastapi:python3-fastapi uvicorn:python3-uvicorn sqlalchemy:python3-sqlalchemy
	psycopg2:python3-psycopg2 psutil:python3-psutil prometheus_client:python3-prometheus-client
	pythonjsonlogger:python3-pythonjsonlogger
)

missing=()
for pair in "${modules[@]}"; do
	/usr/bin/python3 -c "import ${pair%%:*}" 2>/dev/null || missing+=("${pair##*:}")
done
for pair in "${needed[@]}"; do
	command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
	echo "install: please install ${missing[*]}: this script knows apt-get only" >&2
	exit 1
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
	sudo=(sudo)
fi
echo "install: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get -qq update
# No package may start a service: Prometheus's would take port 9090, PostgreSQL's 5432.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
	"${sudo[@]}" chmod +x "$policy"
	trap '"${sudo[@]}" rm -f "$policy"' EXIT
fi
# Should the machine's own Postfix ever be started: it is to listen here only.
if [[ " ${missing[*]} " == *" postfix "* ]]; then
	echo "postfix postfix/main_mailer_type select Local only" | "${sudo[@]}" debconf-set-selections
fi
"${sudo[@]}" apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
