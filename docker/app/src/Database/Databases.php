<?php

namespace App\Database;

use Doctrine\DBAL\Configuration as ConnectionConfiguration;
use Doctrine\DBAL\DriverManager;
use Doctrine\ORM\Configuration;
use Doctrine\ORM\EntityManager;
use Doctrine\ORM\Mapping\Driver\AttributeDriver;
use Doctrine\ORM\Mapping\UnderscoreNamingStrategy;
use Doctrine\ORM\Proxy\ProxyFactory;
use Psr\Cache\CacheItemPoolInterface;
use Symfony\Component\Cache\Adapter\ArrayAdapter;
use Symfony\Component\Cache\Adapter\PhpArrayAdapter;

/** Opens databases. What Doctrine derives from the entities is compiled by MetadataWarmer. */
final class Databases
{
    public function __construct(private string $cacheDir)
    {
    }

    public function open(string $url): EntityManager
    {
        return $this->connect(
            $url,
            PhpArrayAdapter::create($this->metadataFile(), new ArrayAdapter(storeSerialized: false)),
        );
    }

    public function connect(string $url, CacheItemPoolInterface $metadata): EntityManager
    {
        $configuration = new Configuration();
        $configuration->setMetadataDriverImpl(new AttributeDriver([\dirname(__DIR__).'/Entity']));
        $configuration->setMetadataCache($metadata);
        $configuration->setNamingStrategy(new UnderscoreNamingStrategy(\CASE_LOWER, true));
        $configuration->setProxyDir($this->cacheDir.'/doctrine');
        $configuration->setProxyNamespace('Proxies');
        $configuration->setAutoGenerateProxyClasses(ProxyFactory::AUTOGENERATE_NEVER);
        $connection = new ConnectionConfiguration();
        $connection->setMiddlewares([new SqliteMiddleware()]);

        return new EntityManager(DriverManager::getConnection(['url' => $url], $connection), $configuration);
    }

    public function metadataFile(): string
    {
        return $this->cacheDir.'/doctrine/metadata.php';
    }
}
