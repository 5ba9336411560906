#!/bin/sh
# Starts a program with its service account's files where a container has them. Runs in a mount namespace of its own.
# Usage: pod_entry.sh FOLDER PROGRAM [ARGUMENT...]     FOLDER is where the files really are, or their usual place where there are none.
set -e
usual=/var/run/secrets/kubernetes.io/serviceaccount
real=$1
shift
if [ "$real" != "$usual" ]; then
    mount -t tmpfs tmpfs "$(readlink -f /var/run)"
    mkdir -p "$usual"
    mount --bind "$real" "$usual"
fi
exec "$@"
