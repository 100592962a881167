<?php

namespace App\Database;

use Symfony\Component\Cache\Adapter\ArrayAdapter;
use Symfony\Component\Cache\Adapter\NullAdapter;
use Symfony\Component\Cache\Adapter\PhpArrayAdapter;
use Symfony\Component\HttpKernel\CacheWarmer\CacheWarmerInterface;

/** Compiles the entities' mapping and their proxy classes, so that nothing is derived in a request. */
final class MetadataWarmer implements CacheWarmerInterface
{
    public function __construct(private Databases $databases)
    {
    }

    public function warmUp(string $cacheDir): array
    {
        $metadata = new ArrayAdapter(storeSerialized: false);
        $entities = $this->databases->connect('sqlite:///:memory:', $metadata);
        $all = $entities->getMetadataFactory()->getAllMetadata();
        $entities->getProxyFactory()->generateProxyClasses($all);
        (new PhpArrayAdapter($this->databases->metadataFile(), new NullAdapter()))->warmUp($metadata->getValues());

        return [];
    }

    public function isOptional(): bool
    {
        return false;
    }
}
