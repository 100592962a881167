<?php

namespace App;

/** What serves this page: the footer shows it. */
final class Instance
{
    public function __construct(public readonly string $release, public readonly string $started)
    {
    }

    public function getArch(): string
    {
        return php_uname('m');
    }

    public function getName(): string
    {
        return gethostname() ?: 'unknown';
    }
}
