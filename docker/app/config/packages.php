<?php

use App\Security\UserProvider;
use Psr\Log\LogLevel;
use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;
use Symfony\Component\HttpKernel\Exception\MethodNotAllowedHttpException;
use Symfony\Component\HttpKernel\Exception\NotFoundHttpException;
use Symfony\Component\Security\Core\User\PasswordAuthenticatedUserInterface;

return static function (ContainerConfigurator $container): void {
    $container->extension('framework', [
        'secret' => '%env(APP_SECRET)%',
        'http_method_override' => false,
        'session' => [
            'handler_id' => 'session.handler.native_file', // PHP's own files: one at a time has a session
            'save_path' => '%env(resolve:SESSION_PATH)%',
            'cookie_httponly' => true,
            'cookie_samesite' => 'lax',
            'cookie_secure' => 'auto',
            // Debian clears its own folder by cron; nobody clears ours but PHP.
            'gc_probability' => 1,
            'gc_divisor' => 1000,
            'gc_maxlifetime' => 14 * 86400,
            'storage_factory_id' => 'session.storage.factory.native',
        ],
        'csrf_protection' => true,
        'form' => ['legacy_error_messages' => false],
        'validation' => ['email_validation_mode' => 'html5'],
        'router' => ['utf8' => true],
        'php_errors' => ['log' => true],
        // var/cache is compiled when the image is built and read-only afterwards.
        'cache' => ['app' => 'cache.adapter.array', 'system' => 'cache.adapter.array'],
        // A visitor's mistakes are no errors of the site.
        'exceptions' => [
            NotFoundHttpException::class => ['log_level' => LogLevel::INFO],
            MethodNotAllowedHttpException::class => ['log_level' => LogLevel::INFO],
            AccessDeniedHttpException::class => ['log_level' => LogLevel::INFO],
        ],
    ]);
    $container->extension('security', [
        'enable_authenticator_manager' => true,
        'password_hashers' => [
            PasswordAuthenticatedUserInterface::class => ['algorithm' => 'bcrypt', 'cost' => 10],
        ],
        'providers' => ['users' => ['id' => UserProvider::class]],
        'firewalls' => [
            'health' => ['pattern' => '^/healthz$', 'security' => false],
            'main' => [
                // Who is logged in is loaded first of all: as a post's author it would be a proxy of Doctrine's,
                // which a session cannot keep.
                'lazy' => false,
                'provider' => 'users',
                'form_login' => [
                    'login_path' => 'login',
                    'check_path' => 'login',
                    'default_target_path' => 'home',
                    'enable_csrf' => true,
                ],
                'logout' => [
                    'path' => 'logout',
                    'target' => 'home',
                    'csrf_token_generator' => 'security.csrf.token_manager',
                ],
            ],
        ],
        'access_control' => [['path' => '^/admin', 'roles' => 'ROLE_ADMIN']],
    ]);
    $container->extension('twig', [
        'default_path' => '%kernel.project_dir%/templates',
        'strict_variables' => true,
        'globals' => ['style_version' => '%app.style_version%', 'instance' => '@App\Instance'],
    ]);
};
