#!/bin/sh
# Uploads get their folder, and every program of an instance the clock of clock.c: it is started by `gate`.
set -eu
cd "$(dirname "$0")"
mkdir -p data/uploads
tcc -shared -o /usr/local/lib/clock.so clock.c
sed -i '2i export LD_PRELOAD=/usr/local/lib/clock.so CLOCK=/snapshots/.clock' /usr/local/bin/gate
