#!/bin/sh
# Run once, in the image's build: compiles the container and the templates, and makes the first content.
set -eu
cd "$(dirname "$0")"
rm -rf var/cache
php bin/console cache:warmup --env=prod --no-debug
php bin/console app:database:create --env=prod --path seed/database.sqlite
mkdir -p data/sessions
chmod 700 data/sessions
