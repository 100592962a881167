"""The gate of php-fpm: owns the content, hands it over, relays to its successor. Runs in the image."""
