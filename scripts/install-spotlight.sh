#!/usr/bin/env bash
# Installs the server that stands in for Sentry in tests, outside the tree, and
# prints the program to run with node. Says nothing more and changes nothing when
# it is there. It takes 115 MB.
set -euo pipefail
from=$(cd "$(dirname "$0")/../integration/receivers/spotlight" && pwd)
version=$(sha256sum "$from/package.json" "$from/package-lock.json" | awk '{print $1}' | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/millrace-tests
to=$cache/spotlight-$version
mkdir -p "$cache"

# One at a time; a directory is there whole or not at all.
exec 9>"$cache/spotlight.lock"
flock 9
if [ ! -d "$to" ]; then
	echo "install: spotlight" >&2
	rm -rf "$to.part"
	mkdir "$to.part"
	cp "$from/package.json" "$from/package-lock.json" "$to.part/"
	(cd "$to.part" && npm ci --ignore-scripts --omit=dev --no-audit --no-fund --loglevel=error >&2)
	mv "$to.part" "$to"
fi
echo "$to/node_modules/@spotlightjs/spotlight/dist/run.js"
