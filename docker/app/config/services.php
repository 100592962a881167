<?php

use App\Database\Databases;
use App\Database\MetadataWarmer;
use Doctrine\DBAL\Connection;
use Doctrine\ORM\EntityManagerInterface;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;

use function Symfony\Component\DependencyInjection\Loader\Configurator\service;

return static function (ContainerConfigurator $container): void {
    $services = $container->services();
    $services->defaults()->autowire()->autoconfigure()
        ->bind('string $cacheDir', '%kernel.cache_dir%')
        ->bind('string $fixturesDir', '%kernel.project_dir%/fixtures')
        ->bind('string $release', '%env(APP_RELEASE)%')
        ->bind('string $started', '%env(APP_STARTED)%');
    $services->load('App\\', '../src/')->exclude(['../src/Entity', '../src/Kernel.php', '../src/autoload.php']);

    // Bookworm has no DoctrineBundle: these few lines are what the site needs of it.
    $services->set(EntityManagerInterface::class)
        ->factory([service(Databases::class), 'open'])
        ->args(['%env(resolve:DATABASE_URL)%']);
    $services->set(Connection::class)->factory([service(EntityManagerInterface::class), 'getConnection']);
    $services->get(MetadataWarmer::class)->tag('kernel.cache_warmer');
};
