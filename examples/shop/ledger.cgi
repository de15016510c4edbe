#!/bin/sh
# Writes one line for a visit and answers with how many there are. Given to `db` as a config.
# Appending a short line is one write, so visits at the same time are all counted.
echo "$QUERY_STRING" >>/data/visits
printf 'Content-Type: text/plain\r\n\r\n'
wc -l </data/visits
