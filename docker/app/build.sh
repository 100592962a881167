#!/bin/sh
# Run once, in the image's build: compiles the container and the templates, makes the first content, and
# has each kind of page asked for, so that instances find its code compiled in GATE_OPCACHE.
set -eu
cd "$(dirname "$0")"
rm -rf var/cache
php bin/console cache:warmup --env=prod --no-debug
php bin/console app:database:create --env=prod --path seed/database.sqlite
mkdir -p data/sessions
chmod 700 data/sessions
if [ -n "${GATE_OPCACHE:-}" ]; then
    cp seed/database.sqlite data/database.sqlite
    APP_SECRET=rehearsal php -d opcache.file_cache="$GATE_OPCACHE" -S 127.0.0.1:8000 -t public public/index.php 2>/dev/null &
    trap 'kill $!' EXIT
    php bin/rehearse http://127.0.0.1:8000
    rm -f data/database.sqlite* data/sessions/*
fi
