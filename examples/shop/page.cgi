#!/bin/sh
# The shop's page: who serves it on which machine, and how many visits the ledger has counted. Given to `web` as a config.
title="The first shop"

visits="unknown, the ledger does not answer"
newline="
"
answer=$(printf 'GET /cgi-bin/ledger?%s HTTP/1.0\r\nAuthorization: Basic %s\r\n\r\n' "$REPLICA" "$KEY" | nc -w 3 db 80)
case "$answer" in "HTTP/1."?" 200 "*) visits=${answer##*"$newline"} ;; esac

# The server writes addresses as [::ffff:192.0.2.1].
caller=${REMOTE_ADDR#[}
caller=${caller%]}
caller=${caller#::ffff:}

printf 'Content-Type: text/plain\r\n\r\n'
echo "$title${RELEASE:+, release $RELEASE}"
echo "served by $REPLICA on $NODE ($MACHINE) for $caller"
echo "visits: $visits"
