<?php

namespace App;

use Symfony\Bundle\FrameworkBundle\FrameworkBundle;
use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
use Symfony\Bundle\SecurityBundle\SecurityBundle;
use Symfony\Bundle\TwigBundle\TwigBundle;
use Symfony\Component\DependencyInjection\ContainerBuilder;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\Dotenv\Dotenv;
use Symfony\Component\HttpKernel\Kernel as BaseKernel;
use Symfony\Component\Routing\Loader\Configurator\RoutingConfigurator;

final class Kernel extends BaseKernel
{
    use MicroKernelTrait;

    /** The kernel for what .env and the environment say. Only `dev` shows errors. */
    public static function fromEnvironment(): self
    {
        $_SERVER += getenv(); // php-fpm has it there already, PHP's other servers do not
        (new Dotenv())->load(\dirname(__DIR__).'/.env');
        $environment = $_SERVER['APP_ENV'];

        return new self($environment, $environment === 'dev');
    }

    /** Reads the secret from its file, where one is named. Returns what is missing, if anything is. */
    public static function missingSecret(): ?string
    {
        $file = $_SERVER['APP_SECRET_FILE'];
        if ($file !== '') {
            $_SERVER['APP_SECRET'] = $_ENV['APP_SECRET'] = trim((string) @file_get_contents($file));
        }
        if ($_SERVER['APP_SECRET'] !== '') {
            return null;
        }

        return $file !== ''
            ? "There is no secret: $file (APP_SECRET_FILE) is empty or cannot be read. Write 32 random bytes in hex to it."
            : 'There is no secret: set APP_SECRET_FILE to the name of a file that holds one, or APP_SECRET to the secret itself.';
    }

    public function registerBundles(): iterable
    {
        return [new FrameworkBundle(), new SecurityBundle(), new TwigBundle()];
    }

    public function getProjectDir(): string
    {
        return \dirname(__DIR__);
    }

    private function configureContainer(ContainerConfigurator $container): void
    {
        $container->import('../config/packages.php');
        $container->import('../config/services.php');
    }

    private function configureRoutes(RoutingConfigurator $routes): void
    {
        $routes->import('Controller/', 'annotation');
    }

    protected function build(ContainerBuilder $container): void
    {
        // In the style sheet's address, so that browsers keep it for as long as it stays as it is.
        $container->setParameter('app.style_version', substr(hash_file('sha256', $this->getProjectDir().'/public/style.css'), 0, 8));
    }
}
